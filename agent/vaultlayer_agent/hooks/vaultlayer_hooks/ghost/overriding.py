"""Functions that modes, subclasses of tensors and tracers override: they must know our wrappers by identity.

C hands out the function itself, but in tables of a script or of torch stands what has the name: `torch.where`
for one that overrides it, `torch.arange` for a default device. What a tracer gives is no result to record.
"""

import functools
import types

from vaultlayer_hooks.ghost.state import run


def overridable(torch, original, wrapper):
    """Give a wrapper that asks those who override a function first, as that function would."""
    has = torch._C._has_torch_function
    handle = torch.overrides.handle_torch_function
    asks_itself = isinstance(original, types.FunctionType)

    @functools.wraps(original)
    def calling(*args, **kwargs):
        if run.is_compiling():
            return original(*args, **kwargs)
        given = (*args, *kwargs.values()) if kwargs else args
        if not has(given):
            return wrapper(*args, **kwargs)
        if asks_itself:
            # By its global name, which is ours, and with its defaults filled in.
            return original(*args, **kwargs)
        return handle(calling, given, *args, **kwargs)

    return calling
