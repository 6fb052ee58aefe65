"""What goes wrong in a known way and is said in one line, without a traceback."""

from __future__ import annotations


def known_errors() -> tuple[type[Exception], ...]:
    """The exceptions whose message alone tells the user what to do. Imported late, for speed."""
    import psycopg

    from dataflows.evaluate import NoLabels
    from dataflows.runner import RunFailed
    from tidegate.cli.database import SchemaMismatch
    from tidegate.embedded import EmbeddedError
    from tidegate.readers import UnreadableFile

    return (
        EmbeddedError,
        NoLabels,
        OSError,
        RunFailed,
        SchemaMismatch,
        UnreadableFile,
        psycopg.OperationalError,
    )
