"""Whose a class, a namespace or a name is: the script's own, a library's, or the language's."""

import re
import sys
import types

from vaultlayer_hooks.ghost.state import is_user_file, is_user_module

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
# A compiled function holds them, and they change as it is compiled, which a replay does not do.
COMPILERS_SETTINGS = "torch.utils._config_module"
# `torch.compile` writes what it has made among the script's globals: a count, an id or a UUID ends the name.
COMPILED = re.compile("_(c?[0-9]+|[0-9a-f]{12})$")


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


def is_in_its_module(kind):
    """Whether a module has this class under its name; if not, a function has made it."""
    found = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        # Not by `getattr`: modules of libraries import others when they are asked.
        found = getattr(found, "__dict__", {}).get(part)
    return found is kind


def alone(name, alike):
    """Give a name that nothing else bears: of those that are called alike, all but the first get numbers."""
    alike[name] = number = alike.get(name, 0) + 1
    return name if number == 1 else "%s %d" % (name, number)


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
    items = list(vars(cls).items())
    return [(k, v) for k, v in items if is_users_name(k) or isinstance(v, functions)]


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
    return kind.__module__.startswith(("vaultlayer_hooks", COMPILERS_SETTINGS))
