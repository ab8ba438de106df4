"""Where our wrappers stand: pickle writes a function as the name of its place, and must find it there."""

import sys
import types

from vaultlayer_hooks.ghost.state import HOOKS_DIR

MODULES = (
    "os random torch.linalg torch.autograd torch.nn.functional torch.nn.utils.clip_grad torch.func"
).split()


def settle_torch(torch):
    """Let every wrapper in torch, and in what is imported before any of ours, say where it stands."""
    for module in [sys.modules[name] for name in MODULES if name in sys.modules]:
        settle(module)
    settle(torch)
    for cls in (torch.Tensor, torch.nn.Module):
        _settle(cls, cls.__module__, cls.__qualname__ + ".")


def settle(module):
    """Let the wrappers in a module say where they stand."""
    _settle(module, module.__name__, "")


def _settle(owner, module, prefix):
    for name, value in list(vars(owner).items()):
        ours = isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith(
            HOOKS_DIR
        )
        # One function may have several names, and says the one that it had before.
        if ours and (name == value.__name__ or not _stands(value)):
            # A tracer writes the module and the plain name into the code that it makes.
            value.__module__, value.__qualname__, value.__name__ = module, prefix + name, name


def _stands(function):
    found = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function
