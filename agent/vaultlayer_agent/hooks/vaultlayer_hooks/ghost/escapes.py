"""Values that leave tensor land: recorded as they are, and given from the log in a replay."""

import functools
import importlib
from _thread import get_ident

from vaultlayer_hooks.ghost import log
from vaultlayer_hooks.ghost.overriding import overridable
from vaultlayer_hooks.ghost.state import OFF, REPLAY, run

METHODS = (
    "item",
    "tolist",
    "numpy",
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
    "__complex__",
    "__array__",
    "__repr__",
    "__format__",
    "__contains__",
    "is_nonzero",
    "equal",
    "allclose",
)
FUNCTIONS = ("is_nonzero", "equal", "allclose")

ALONE = frozenset(("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "is_nonzero"))

originals = {}
"""Torch's own methods by their names: for what we read ourselves, in no call of the script's."""


def patch(torch):
    """Wrap every way out of a tensor."""
    for name in METHODS:
        original = getattr(torch.Tensor, name, None)
        if original is not None:
            originals[name] = original
            wrap = _escape_of_one if name in ALONE else escape
            setattr(torch.Tensor, name, wrap(name.strip("_"), original))
    for name in FUNCTIONS:
        original = getattr(torch, name)
        setattr(torch, name, overridable(torch, original, escape(name, original)))


def escape(kind, original):
    """Wrap a function whose result is a Python or NumPy value."""
    arrays = kind in ("numpy", "array")

    @functools.wraps(original)
    def escaping(*args, **kwargs):
        if run.mode == OFF or run.depth or get_ident() != run.main:
            return original(*args, **kwargs)
        if run.is_compiling():
            return original(*args, **kwargs)
        if run.mode == REPLAY:
            return unpack(log.take(kind))
        run.depth += 1
        try:
            value = original(*args, **kwargs)
        finally:
            run.depth -= 1
        log.note(kind, pack_array(value) if arrays else pack(value))
        return value

    return escaping


def _escape_of_one(kind, original):
    """Do what `escape` does for methods without arguments: an optimizer calls `item` for each parameter."""

    @functools.wraps(original)
    def escaping(self):
        if run.mode == OFF or run.depth or get_ident() != run.main:
            return original(self)
        if run.is_compiling():
            return original(self)
        if run.mode == REPLAY:
            return unpack(log.take(kind))
        run.depth += 1
        try:
            value = original(self)
        finally:
            run.depth -= 1
        log.note(kind, pack(value))
        return value

    return escaping


def pack(value):
    """Give a value as marshal takes it."""
    return ("list", value) if type(value) is list else value


def pack_array(value):
    """Give an array as a plain value."""
    if getattr(value, "dtype", None) is None or value.dtype.hasobject:
        return ("none",)
    return ("array", value.dtype.str, value.shape, value.tobytes())


def unpack(value):
    """Give back what `pack` or `pack_array` was given; lists and arrays are new ones."""
    if type(value) is not tuple:
        return value
    if value[0] == "list":
        return _copied(value[1])
    if value[0] == "array":
        numpy = importlib.import_module("numpy")
        return numpy.frombuffer(value[3], dtype=value[1]).reshape(value[2]).copy()
    return run.diverge("an array of objects cannot be replayed")


def _copied(value):
    return [_copied(x) for x in value] if type(value) is list else value
