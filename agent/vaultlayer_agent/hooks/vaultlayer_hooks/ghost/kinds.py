"""Values that are neither plain nor containers: numbers of NumPy, members of enumerations, dates, functions.

Each has a form of plain values that is the same in every process, and from which most can be made again.
"""

import enum
import importlib
import io
import sys
import types
import zlib

from vaultlayer_hooks.ghost.classes import ByClass
from vaultlayer_hooks.ghost.state import Diverged, run

MARK = "of"
BASES = (int, float, complex, str, bytes)
# Their modules are not imported for this.
WRITTEN = frozenset("Decimal Fraction date time timedelta timezone UUID PurePath".split())
TORCH = ("dtype", "device", "layout", "memory_format")
NAMED = frozenset((types.FunctionType, types.BuiltinFunctionType, type))


def form(value, kind):
    """Give the form of a value of this class; None for one of another kind."""
    return _ways[kind](value)


def _way(kind):
    """Give the function that describes values of a class."""
    name = "%s:%s" % (kind.__module__, kind.__qualname__)
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, numpy.generic):
        return _number
    if issubclass(kind, enum.Enum):
        return lambda value: (MARK, "enum", name, value.name or repr(value.value))
    if kind is range or kind is slice:
        return _ends
    if kind is io.StringIO:
        return _text
    if kind is not bool and issubclass(kind, BASES):
        return lambda value: (MARK, "base", name, _base(value))
    if any(_is_written(cls) for cls in kind.__mro__):
        return lambda value: (MARK, "written", name, str(value))
    if kind.__module__ == "torch" and kind.__name__ in TORCH:
        return lambda value: (MARK, "torch", kind.__name__, str(value))
    return _nothing


_ways = ByClass(_way)


def _is_written(cls):
    root = cls.__module__.split(".")[0]
    return cls.__name__ in WRITTEN and root in (
        "decimal",
        "fractions",
        "datetime",
        "uuid",
        "pathlib",
    )


def _nothing(_value):
    return None


def _number(value):
    return None if value.dtype.hasobject else (MARK, "numpy", value.dtype.str, value.tobytes())


def _ends(value):
    ends = (value.start, value.stop, value.step)
    plain = all(type(x) in (int, type(None)) for x in ends)
    return (MARK, type(value).__name__, "", ends) if plain else None


def _text(value):
    """Give what has been written into a text in memory, by its length and checksum."""
    if value.closed:
        return (MARK, "text", "StringIO", None)
    data = value.getvalue().encode("utf-8", "surrogatepass")
    return (MARK, "text", "StringIO", (len(data), zlib.crc32(data)))


def _base(value):
    """Give a number or text as one of the built-in class, whatever its own class overrides."""
    if isinstance(value, int):
        return int.__add__(value, 0)
    if isinstance(value, float):
        return float.__add__(value, 0.0)
    if isinstance(value, complex):
        return complex.__add__(value, 0j)
    return (str if isinstance(value, str) else bytes).__getitem__(value, slice(None))


def named(value):
    """Give the form of a function or class: its name, and the line where several may bear it."""
    name = getattr(value, "__qualname__", "")
    module = getattr(value, "__module__", None) or getattr(
        getattr(value, "__self__", None), "__name__", ""
    )
    code = getattr(value, "__code__", None)
    line = code.co_firstlineno if code is not None and "<" in name else 0
    return (MARK, "named", "%s:%s" % (module, name), line)


def is_form(kept):
    """Whether something is a form of this module."""
    return type(kept) is tuple and len(kept) == 4 and kept[0] == MARK


def made(kept):
    """Make a value from its form.

    Raises:
        Diverged: it is of a kind that cannot be made.
    """
    _, kind, name, content = kept
    try:
        if kind == "numpy":
            return sys.modules["numpy"].frombuffer(content, dtype=name)[0]
        if kind in ("range", "slice"):
            return (range if kind == "range" else slice)(*content)
        if kind == "torch":
            return _of_torch(name, content)
        if kind == "base" and name == "builtins:complex":
            return content
        if kind in ("enum", "named"):
            return _found(name)[content] if kind == "enum" else _found(name)
        if kind == "written" and name.split(":")[0] in ("decimal", "fractions", "datetime"):
            return _read(name, content)
    except Exception as failure:
        raise Diverged("%s cannot be made again: %s" % (name, failure)) from failure
    raise Diverged("a %s that a skipped call has made" % name)


def _of_torch(name, text):
    return run.torch.device(text) if name == "device" else getattr(run.torch, text.split(".")[-1])


def _found(name):
    """Give the class or function of a name; it must still bear it."""
    module, _, path = name.partition(":")
    value = sys.modules.get(module) or importlib.import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _read(name, text):
    """Make a number or date from its text."""
    cls = _found(name)
    return cls.fromisoformat(text) if hasattr(cls, "fromisoformat") else cls(text)
