"""What goes wrong in a known way and is said in one line, without a traceback."""

from __future__ import annotations


def known_errors() -> tuple[type[Exception], ...]:
    """The exceptions whose message alone tells the user what to do. Imported late, for speed."""
    import psycopg
    import sqlalchemy.exc

    from dataflows.evaluate import NoLabels
    from dataflows.runner import RunFailed
    from models.replay import CannotReplay
    from tidegate.cli.database import SchemaMismatch
    from tidegate.embedded import EmbeddedError
    from tidegate.kafka.admin import NoBroker, TopicError
    from tidegate.kafka.single import KafkaFailed
    from tidegate.readers import UnreadableFile
    from tidegate.store.api_keys import NoSuchKey
    from tidegate.store.promotions import CannotPromote

    return (
        CannotPromote,
        CannotReplay,
        EmbeddedError,
        KafkaFailed,
        NoBroker,
        NoLabels,
        NoSuchKey,
        OSError,
        RunFailed,
        SchemaMismatch,
        TopicError,
        UnreadableFile,
        psycopg.OperationalError,
        sqlalchemy.exc.OperationalError,  # what migrations make of it
    )


def told(error: Exception) -> str:
    """The error as one line."""
    cause = getattr(error, "orig", None) or error  # SQLAlchemy's own text has a link behind it
    return " ".join(str(cause).split())
