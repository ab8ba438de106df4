"""Values that no attribute shows: of what methods are bound to, of weak dictionaries, local to a thread."""

import array
import contextvars
import ctypes
import gc
import queue
import re
import sys
import threading
import types
import weakref
import zlib

from vaultlayer_hooks.ghost.state import is_user_file, is_user_module

STOP = (
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
STOP_MODULES = frozenset(
    (
        "_io",
        "_thread",
        "_weakref",
        "weakref",
        "threading",
        "logging",
        "re",
        "multiprocessing",
        "concurrent",
        "asyncio",
        "selectors",
        "socket",
        "ssl",
        "subprocess",
        "importlib",
        "_frozen_importlib",
        "_frozen_importlib_external",
        "inspect",
        "traceback",
        "argparse",
        "queue",
        "_queue",
        "mmap",
        "ctypes",
        "_ctypes",
    )
)
HOLDERS = frozenset(("builtins", "collections", "itertools", "functools", "types"))
# Configurations that many scripts keep their state in.
CONFIGURATIONS = frozenset(("easydict", "omegaconf", "ml_collections", "munch", "addict", "box"))
NUMBERS = frozenset("?bBhHiIlLqQfdgc")
# `torch.compile` writes what it has made among the script's globals: a count, an id or a UUID ends the name.
COMPILED = re.compile("_(c?[0-9]+|[0-9a-f]{12})$")
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


def is_foreign(names):
    """Whether a namespace is of the user's code, and of no module in `sys.modules`."""
    module = sys.modules.get(names.get("__name__"))
    if module is not None and vars(module) is names:
        return False
    file = names.get("__file__")
    return is_user_file(file) if isinstance(file, str) else module is None


def is_users_name(name):
    """Whether a global's name is of the script's own making, not of the language's or a compiler's."""
    return not name.startswith("__") or not (name.endswith("__") or COMPILED.search(name))


def is_hidden_class(kind):
    """Whether no module has this class under its name: one that a function has made."""
    found = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not kind


def is_users(kind):
    """Whether a class is of the user's own code."""
    if is_user_module(kind.__module__):
        return True
    if kind.__module__ in sys.modules:
        return False
    codes = [getattr(item, "__code__", None) for item in vars(kind).values()]
    return any(is_user_file(code.co_filename) for code in codes if code is not None)


def class_items(cls):
    """Give the names of a class; of those that the language has given only functions."""
    functions = (types.FunctionType, staticmethod, classmethod, property)
    own = [(k, v) for k, v in vars(cls).items() if not (k.startswith("__") and k.endswith("__"))]
    given = [(k, v) for k, v in vars(cls).items() if k.startswith("__") and k.endswith("__")]
    return own + [(k, v) for k, v in given if isinstance(v, functions)]


def is_plain_holder(kind):
    """Whether instances of a library's class are mere holders of the script's own values."""
    root = kind.__module__.split(".")[0]
    return root in HOLDERS or root in CONFIGURATIONS or is_namespace(kind)


def is_namespace(kind):
    """Whether a class is that of parsed arguments, which many scripts keep all their state in."""
    return kind.__module__ == "argparse" and kind.__name__ == "Namespace"


def is_closed(kind):
    """Whether nothing is looked for in instances of a class."""
    if kind.__module__.split(".")[0] in STOP_MODULES:
        return not is_namespace(kind)
    return kind.__module__.startswith("vaultlayer_hooks")
