"""TorchScript compiles from source: it must find the functions that we have wrapped, not the wrappers."""

import functools
import importlib

from vaultlayer_hooks.ghost.plain import PLAIN, copy_of
from vaultlayer_hooks.ghost.state import HOOKS_DIR, run


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


def attributes(module):
    """Give `(name, value)` of what TorchScript keeps of a module in C++; containers of plain values as text.

    What it gives of containers are copies, and filling those would change nothing.
    """
    described = vars(module).get("_concrete_type")
    if described is None:
        return []
    known = {*vars(module)["_parameters"].keys(), *vars(module)["_buffers"].keys()}
    names = [name for name in described.get_attributes() if name[:1] != "_" and name not in known]
    held = [(name, vars(module)["_c"].getattr(name)) for name in names]
    return [(name, repr(value) if _is_copy(value) else value) for name, value in held]


def _is_copy(value):
    if type(value) in PLAIN or not isinstance(value, (list, dict, tuple)):
        return False
    return copy_of(value) is not None


def part(roots):
    """Give modules tensors of their own for those that they may share with what they were compiled from.

    Calls that a replay skips may have put others into their place.
    """
    for root in roots:
        for module in root.modules():
            for name, value in attributes(module) if is_scripted(module) else ():
                if isinstance(value, run.torch.Tensor):
                    setattr(
                        module, name, value.detach().clone().requires_grad_(value.requires_grad)
                    )


def is_scripted(module):
    """Whether a module's attributes lie in C++."""
    return "_concrete_type" in getattr(module, "__dict__", ())


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
