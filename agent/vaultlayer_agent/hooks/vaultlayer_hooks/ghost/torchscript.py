"""TorchScript compiles from source: it must find the functions that we have wrapped, not the wrappers."""

import functools
import importlib

from vaultlayer_hooks.ghost.state import HOOKS_DIR


def patch():
    """Let the compiler see through our wrappers."""
    for module, name in (
        ("torch.jit._recursive", "try_compile_fn"),
        ("torch.jit._builtins", "_find_builtin"),
    ):
        try:
            owner = importlib.import_module(module)
            setattr(owner, name, _seeing_through(getattr(owner, name)))
        except (ImportError, AttributeError):
            continue


def is_ours(value):
    """Whether a function is a wrapper of the hooks."""
    code = getattr(value, "__code__", None)
    return (
        code is not None
        and code.co_filename.startswith(HOOKS_DIR)
        and hasattr(value, "__wrapped__")
    )


def unwrapped(value):
    """Give the function inside our wrappers."""
    while is_ours(value):
        value = value.__wrapped__
    return value


def _seeing_through(original):
    @functools.wraps(original)
    def asked(function, *args):
        return original(unwrapped(function), *args)

    return asked
