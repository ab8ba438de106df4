"""Hooks on tensors: what they collect in a backward pass is collected again by a replay, on stand-ins.

A hook that only computes a gradient from another one, as those that clamp or mask, leaves nothing and is left
alone; so is one that steps an optimizer, for a replay skips what it does.
"""

import dis
import functools
import types
from _thread import get_ident

from vaultlayer_hooks.ghost import module_hooks
from vaultlayer_hooks.ghost.plain import PLAIN
from vaultlayer_hooks.ghost.state import OFF, run

CHANGES = ("STORE_GLOBAL", "STORE_DEREF", "STORE_NAME", "STORE_ATTR", "STORE_SUBSCR", "DELETE_")
OTHERWISE = ("IMPORT_", "MAKE_FUNCTION", "YIELD", "RAISE", "LOAD_BUILD_CLASS")


def patch(torch):
    """Wrap the registration of hooks on tensors."""
    for name, kind in (
        ("register_hook", _Hook),
        ("register_post_accumulate_grad_hook", _Accumulated),
    ):
        original = getattr(torch.Tensor, name, None)
        if original is not None:
            setattr(torch.Tensor, name, _registering(original, kind))


def _registering(original, kind):
    @functools.wraps(original)
    def register(self, hook):
        # One that a skipped call registers is not there in a replay.
        ours = run.mode != OFF and not run.depth and get_ident() == run.main
        if ours and module_hooks.is_users(hook) and not _leaves_nothing(hook):
            hook = kind(self, hook)
        return original(self, hook)

    return register


class _Hook(module_hooks.Hook):
    """A hook on the gradient of a tensor."""

    def seen(self, *args):
        """Give the arguments that a replay makes stand-ins of."""
        return args

    def given(self, *stand_ins):
        """Give the arguments of a replay."""
        return stand_ins


class _Accumulated(module_hooks.Hook):
    """A hook that gets a parameter as soon as its gradient is there."""

    def seen(self, *_):
        """Give nothing: the parameter is there in a replay, too."""
        return ()

    def given(self, *_):
        """Give the parameter, with a gradient."""
        tensor = self.owner()
        if tensor.grad is None:
            tensor.grad = run.torch.zeros_like(tensor, requires_grad=False)
        return (tensor,)


def _leaves_nothing(hook):
    """Whether a hook changes nothing but tensors, as far as its code tells for certain."""
    if not isinstance(hook, types.FunctionType):
        return False
    code = hook.__code__
    if "step" in code.co_names:
        return True
    for one in dis.get_instructions(code):
        if one.opname.startswith(CHANGES + OTHERWISE):
            return False
        if one.opname == "LOAD_GLOBAL" and not _is_inert(hook.__globals__.get(one.argval)):
            return False
    cells = [cell.cell_contents for cell in hook.__closure__ or ()]
    names = set(dir(run.torch.Tensor)).union(dir(run.torch), dir(run.torch.nn.functional))
    held = [*cells, *(hook.__defaults__ or ())]
    return all(map(_is_inert, held)) and names.issuperset(
        name for name in code.co_names if name not in hook.__globals__
    )


def _is_inert(value):
    """Whether nothing can be put into something."""
    torch = run.torch
    known = value is torch or value is torch.nn or value is torch.nn.functional
    return known or isinstance(value, torch.Tensor) or (type(value) in PLAIN and value is not None)
