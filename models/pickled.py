"""Models of River as bytes: pickled, and read back only by what pickled them.

They are kept in the recovery store alone, which is private to the flow (docs/security.md), and
never leave it. Reading still makes nothing but what models of River are made of.
"""

from __future__ import annotations

import io
import pickle
import platform
from importlib.metadata import version
from typing import Any


class NotOurs(ValueError):
    """A model that another release of River or Python saved, or that holds something else."""


_HEAD = f"river {version('river')} numpy {version('numpy')} python {platform.python_version()}\n"

# What else models of River hold. Their own classes are those of the package.
_PLAIN = (
    *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"),
    *("object", "set", "slice", "str", "tuple"),
)
_ALLOWED = {
    *(("builtins", name) for name in _PLAIN),
    *(("collections", name) for name in ("Counter", "OrderedDict", "defaultdict", "deque")),
    ("copyreg", "_reconstructor"),
    ("functools", "partial"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(("numpy._core.multiarray", name) for name in ("_reconstruct", "scalar")),
    *(("numpy.core.multiarray", name) for name in ("_reconstruct", "scalar")),
    ("random", "Random"),
}


def pickled(model: Any) -> bytes:
    """The model as bytes."""
    return _HEAD.encode() + pickle.dumps(model, protocol=5)


def unpickled(data: bytes) -> Any:
    """The model that `pickled` was given. Raises NotOurs."""
    head, _, content = data.partition(b"\n")
    if head != _HEAD.strip().encode():
        raise NotOurs(f"it was saved by {head[:80].decode(errors='replace')}")
    try:
        return _Models(io.BytesIO(content)).load()
    except NotOurs:
        raise
    except Exception as error:  # altered bytes may raise almost anything
        raise NotOurs(f"it cannot be read: {error!r}") from error


class _Models(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):  # how a bound method is pickled
            return _method
        if module.split(".")[0] == "river" or (module, name) in _ALLOWED:
            found = super().find_class(module, name)
            if module.split(".")[0] != "river" or _makes_models(found, module):
                return found
        raise NotOurs(f"it holds {module}.{name}")


def _makes_models(found: Any, module: str) -> bool:
    """Whether it is a class of the package itself, or what its compiled classes are made by."""
    if isinstance(found, type):
        return _of_river(found)
    return getattr(found, "__name__", "").startswith("__pyx_unpickle_")


def _method(of: Any, name: str) -> Any:
    if not _of_river(type(of)) or name.startswith("__"):
        raise NotOurs(f"it holds {name} of {type(of).__name__}")
    return getattr(of, name)


def _of_river(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "river"
