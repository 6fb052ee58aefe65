"""What goes wrong in our part of a flow, kept where Bytewax cannot lose it.

When a worker of several fails, the links between them break, and the panic over a link may come out
of Bytewax in the place of the exception that began it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_noted: list[Exception] = []


def noting(call: Callable[P, R]) -> Callable[P, R]:
    """For what Bytewax calls: notes the exception that it raises, if it is the process's first."""

    @wraps(call)
    def noted(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except StopIteration:  # how a source ends
            raise
        except Exception as error:
            if not _noted:
                _noted.append(error)
            raise

    return noted


def forget() -> None:
    """For a new flow in the same process."""
    _noted.clear()


def noted() -> Exception | None:
    """The first exception since, if there was one."""
    return _noted[0] if _noted else None
