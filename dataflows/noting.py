"""What Bytewax calls of ours: what goes wrong in it, and for how long it has not come back.

When a worker of several fails, the links between them break, and the panic over a link may come out
of Bytewax in the place of the exception that began it. So it is kept where Bytewax cannot lose it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_noted: list[Exception] = []
_began: float | None = None  # when the call that has not come back did


def noting(call: Callable[P, R]) -> Callable[P, R]:
    """For what Bytewax calls, which it does from one thread of a process: notes the exception that
    it raises, if it is the process's first, and how long it takes."""

    @wraps(call)
    def noted(*args: P.args, **kwargs: P.kwargs) -> R:
        global _began
        _began = time.monotonic()
        try:
            return call(*args, **kwargs)
        except StopIteration:  # how a source ends
            raise
        except Exception as error:
            if not _noted:
                _noted.append(error)
            raise
        finally:
            _began = None

    return noted


def forget() -> None:
    """For a new flow in the same process."""
    _noted.clear()


def noted() -> Exception | None:
    """The first exception since, if there was one."""
    return _noted[0] if _noted else None


def busy() -> float:
    """For how many seconds now the flow has been in one call; 0 while it is in none."""
    began = _began
    return 0.0 if began is None else time.monotonic() - began
