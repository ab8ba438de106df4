"""Values that no attribute shows: of what methods are bound to, of weak dictionaries, local to a thread."""

import array
import contextvars
import ctypes
import gc
import queue
import threading
import types
import weakref
import zlib

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


def inside(value, kind):
    """Give `(suffix, thing)` of what such an object holds; None for an object of another kind."""
    ways = _ways.get(kind)
    if ways is not None:
        return ways(value)
    if isinstance(value, queue.Queue):
        return ((".queue", value.queue),)
    if kind.__module__ == "multiprocessing.sharedctypes" and "_obj" in getattr(
        value, "__dict__", ()
    ):
        return ((".obj", vars(value)["_obj"]),)
    if issubclass(kind, (ctypes._SimpleCData, ctypes.Array)):
        return ((".content", _content(value)),)
    return None


def _bound(value):
    held = value.__self__
    apart = held is None or isinstance(held, (types.ModuleType, type))
    return () if apart else ((".self", held),)


def _method(value):
    return ((".self", value.__self__), (".func", value.__func__))


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


_ways = {
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
}


def _content(value):
    kind = type(value)
    while issubclass(kind, ctypes.Array):
        kind = kind._type_
    # All others hold addresses.
    if getattr(kind, "_type_", "") not in NUMBERS:
        return None
    data = bytes(value)
    return data if len(data) <= 64 else "%d:%d" % (len(data), zlib.crc32(data))


def order(value):
    """Give what tells how many things a container holds, and in which order a dictionary's names are."""
    names = [key for key in value if type(key) is str] if isinstance(value, dict) else ()
    return "%d:%d" % (len(value), zlib.crc32(repr(names).encode()))


def checksum(value):
    """Give what tells one content of a byte array from another."""
    return "%d:%d" % (len(value), zlib.crc32(memoryview(value).cast("B")))
