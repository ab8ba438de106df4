"""Values that no attribute shows: of what methods are bound to, of weak dictionaries, local to a thread."""

import array
import contextvars
import ctypes
import functools
import gc
import io
import queue
import threading
import types
import weakref
import zlib

from vaultlayer_hooks.ghost import archives, kinds, reading
from vaultlayer_hooks.ghost.classes import ByClass
from vaultlayer_hooks.ghost.plain import PLAIN

STOP = (
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
NUMBERS = frozenset("?bBhHiIlLqQfdgc")
BYTES = frozenset((bytearray, array.array))
MEMBERS_MOST = 10_000


saved_to = weakref.WeakSet()
"""Buffers with large tensors: a snapshot holds their content."""


def inside(value, kind):
    """Give `(suffix, thing)` of what such an object holds; None for an object of another kind.

    Of what can be set there are two more: the holder whose attribute it is, and the attribute's name.
    """
    way = _ways[kind]
    return None if way is None else way(value)


def _way(kind):
    """Give the function that tells what objects of a class hold, or None."""
    known = _exact.get(kind)
    if known is not None:
        return known
    for base, way in _derived:
        if issubclass(kind, base):
            return way
    if kind.__module__ == "multiprocessing.sharedctypes":
        return _wrapped
    return _logging_way(kind) or archives.way(kind)


def _logging_way(kind):
    """Loggers and handlers of the language's own; those of the script's classes are plain instances."""
    if kind.__module__.split(".")[0] != "logging":
        return None
    names = {cls.__name__ for cls in kind.__mro__}
    if "Logger" in names:
        return _named_in("level", "disabled", "propagate", "handlers", "filters")
    if "LoggerAdapter" in names:
        return _named_in("logger", "extra")
    return _named_in("level", "filters", "stream") if "Handler" in names else None


def _named_in(*names):
    return lambda value: tuple([("." + name, getattr(value, name, None)) for name in names])


def _queue(value):
    return ((".queue", value.queue),)


def _wrapped(value):
    held = getattr(value, "__dict__", {}).get("_obj")
    return None if held is None else ((".obj", held),)


def _memory(value):
    return ((".content", _content(value)),)


def _buffer(value):
    """Give content and position of bytes in memory, but for what a snapshot holds whole."""
    if value.closed or value in saved_to:
        return ()
    with value.getbuffer() as view:
        return ((".content", "%d:%d:%d" % (len(view), zlib.crc32(view), value.tell())),)


def _bound(value):
    held = value.__self__
    apart = held is None or isinstance(held, (types.ModuleType, type))
    return () if apart else ((".self", held),)


def _method(value):
    return ((".self", value.__self__), (".func", value.__func__), _name_of(value.__func__))


def _partial(value):
    parts = ((".0", value.func), (".1", value.args), (".2", value.keywords))
    return (*parts, (".3", vars(value)), _name_of(value.func))


def _name_of(function):
    """Give for what code something stands: skipped calls may put other code in its place."""
    return (".name", "%s %d" % kinds.named(function)[2:])


def _function(value):
    return ((".func", value.__func__),)


def _property(value):
    return tuple([("." + name, getattr(value, name)) for name in ("fget", "fset", "fdel")])


def _cell(value):
    return tuple([("()", item) for item in gc.get_referents(value)])


def _weak(value):
    return tuple([("{%d}" % n, item) for n, item in enumerate(list(value.values()))])


def _local(value):
    return tuple([("." + name, item) for name, item in list(vars(value).items())])


def _variable(value):
    return ((".get()", value.get(None)),)


_exact = {
    types.BuiltinFunctionType: _bound,
    types.MethodWrapperType: _bound,
    types.MethodType: _method,
    types.CellType: _cell,
    staticmethod: _function,
    classmethod: _function,
    property: _property,
    weakref.WeakKeyDictionary: _weak,
    weakref.WeakValueDictionary: _weak,
    threading.local: _local,
    contextvars.ContextVar: _variable,
    threading.Event: _named_in("_flag"),
    threading.Semaphore: _named_in("_value"),
    threading.BoundedSemaphore: _named_in("_value"),
}
_derived = (
    (queue.Queue, _queue),
    (functools.partial, _partial),
    ((ctypes._SimpleCData, ctypes.Array, ctypes.Structure, ctypes.Union), _memory),
    (io.BytesIO, _buffer),
    ((io.TextIOWrapper, io.BufferedReader, io.FileIO), reading.held),
)
_ways = ByClass(_way)


def _content(value):
    # All others hold addresses.
    if not _are_numbers(type(value)):
        return None
    data = bytes(value)
    return data if len(data) <= 64 else "%d:%d" % (len(data), zlib.crc32(data))


def _are_numbers(kind):
    """Whether a class of `ctypes` is one of numbers, or is made of such."""
    if issubclass(kind, ctypes.Array):
        return _are_numbers(kind._type_)
    if issubclass(kind, (ctypes.Structure, ctypes.Union)):
        fields = [field for cls in kind.__mro__ for field in cls.__dict__.get("_fields_", ())]
        return all(_are_numbers(field[1]) for field in fields)
    return getattr(kind, "_type_", "") in NUMBERS


def order(value):
    """Give what tells how many things a container holds, and in which order a dictionary's names are."""
    names = [key for key in value if type(key) is str] if isinstance(value, dict) else ()
    return "%d:%d" % (len(value), zlib.crc32(repr(names).encode()))


def checksum(value):
    """Give what tells one content of a byte array from another."""
    return "%d:%d" % (len(value), zlib.crc32(memoryview(value).cast("B")))


def own_names(value):
    """Give the namespace of an instance of a class made of a plain one, and what the script keeps there."""
    names = getattr(value, "__dict__", None)
    if type(names) is not dict:
        return None, ()
    # Those that begin and end so are the language's, of members of enumerations.
    return names, [(k, v) for k, v in names.items() if not (k[:1] == "_" and k[-1:] == "_")]


def members(value, besides):
    """Give `(name of a class, its instances)` of what a set holds, but for instances of some classes."""
    found = {}
    if len(value) <= MEMBERS_MOST:
        for item in value:
            if not isinstance(item, besides):
                found.setdefault(type(item).__qualname__, []).append(item)
    return sorted(found.items())


def alike(values):
    """Give what tells one state of things from another that nobody can tell apart by a name."""
    forms = sorted([_plain_names(value) for value in values])
    return "%d:%d" % (len(forms), zlib.crc32(repr(forms).encode()))


def _plain_names(value):
    names = getattr(value, "__dict__", None)
    items = names.items() if type(names) is dict else ()
    return repr(sorted([(k, v) for k, v in items if type(v) in PLAIN], key=lambda item: item[0]))
