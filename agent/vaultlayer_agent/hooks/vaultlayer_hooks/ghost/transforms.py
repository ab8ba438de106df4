"""Gradients by `torch.func`: skipped in a replay, and steps, where a script trains by nothing else.

`grad` and `grad_and_value`, alone or inside `vmap`, give gradients without a backward pass of the script's.
As long as no optimizer has been made and no backward pass has run, the outermost such call ends a step; the
first few are done for real in a replay as well, for set-up may ask for a derivative or two.
"""

import functools
import types
import weakref

from vaultlayer_hooks.ghost import boundary, specs
from vaultlayer_hooks.ghost.calls import is_transforming, through
from vaultlayer_hooks.ghost.state import RECORD, run

_gradients = weakref.WeakSet()


def patch(torch):
    """Wrap what `torch.func` makes gradients with; inside torch all stays as it is."""
    for name in ("grad", "grad_and_value"):
        setattr(torch.func, name, _maker(getattr(torch.func, name), True))
    torch.func.vmap = torch.vmap = _maker(torch.func.vmap, False)


def _maker(original, is_gradient):
    is_compiling = run.is_compiling

    @functools.wraps(original)
    def transform(*args, **kwargs):
        if is_compiling():
            return original(*args, **kwargs)
        made = original(*args, **kwargs)
        return _recorded(made) if is_gradient or _holds_gradient(args, kwargs) else made

    return transform


def _holds_gradient(args, kwargs):
    func = args[0] if args else kwargs.get("func")
    return isinstance(func, types.FunctionType) and func in _gradients


def _recorded(made):
    is_compiling = run.is_compiling

    @functools.wraps(made)
    def gradient(*args, **kwargs):
        if is_compiling() or not run.is_ours() or run.opaque or is_transforming():
            return made(*args, **kwargs)
        if not boundary.by_transforms():
            result = made(*args, **kwargs)
            boundary.transformed(_has_graph(result))
            return result
        run.begin()
        result = through("transform", made, args, kwargs, _number_of)
        if not _has_graph(result):
            if run.mode == RECORD:
                run.pulse.gradient(_leaves(result))
            boundary.reached("transform", None, result)
        return result

    _gradients.add(gradient)
    return gradient


def _number_of(result):
    """Give the number of a spec; None for what later backward passes go through, which a replay computes."""
    return None if _has_graph(result) else specs.number_of(result)


def _has_graph(result):
    return any(tensor.requires_grad for tensor in _leaves(result))


def _leaves(result):
    tree = run.torch.utils._pytree
    return [x for x in tree.tree_flatten(result)[0] if isinstance(x, run.torch.Tensor)]
