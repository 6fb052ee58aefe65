"""How readers end: what they handed on is known to others only if the flow ended well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Reading(Protocol):
    """A reader of a live source."""

    def close(self, *, clean: bool) -> None:
        """Ends. clean: everything handed on is in a snapshot."""


R = TypeVar("R", bound=Reading)


@contextmanager
def ended(reader: R) -> Iterator[R]:
    """The reader, closed at the end: cleanly if nothing was raised."""
    try:
        yield reader
    except BaseException:
        reader.close(clean=False)
        raise
    reader.close(clean=True)
