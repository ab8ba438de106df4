"""Calls that a replay skips: root modules, clipping, backward passes, gradients."""

import functools
import sys
from _thread import get_ident

from vaultlayer_hooks.ghost import attributes, boundary, leaves, log, module_hooks, raised, specs
from vaultlayer_hooks.ghost.rng import set_small_state, small_state, streams
from vaultlayer_hooks.ghost.state import OFF, REPLAY, deep, run

_ghost_grads = {}
_masks = {"last": None}
_transforms = [lambda: None]


def patch(torch):
    """Wrap module calls, backward passes and what else works on tensors only."""
    leaves.patch(torch)
    torch.nn.Module.__call__ = _module_call(torch, torch.nn.Module.__call__)
    torch.autograd.backward = _backward(torch.autograd.backward)
    torch.autograd.grad = _grad(torch.autograd.grad)
    clips = torch.nn.utils.clip_grad
    for name in ("clip_grad_norm_", "clip_grad_norm", "clip_grad_value_"):
        if hasattr(clips, name):
            wrapped = skipped(name, getattr(clips, name))
            setattr(clips, name, wrapped)
            setattr(torch.nn.utils, name, wrapped)


def _module_call(torch, original):
    is_compiling = run.is_compiling
    is_traced = getattr(torch.compiler, "is_dynamo_compiling", is_compiling)
    is_tracing = torch.jit.is_tracing
    transforming = getattr(torch._C._functorch, "peek_interpreter_stack", _transforms[0])
    _transforms[:] = [transforming]

    @functools.wraps(original)
    def __call__(self, *args, **kwargs):
        # Modules inside another one come here too, and should cost them as little as can be.
        if is_traced() or run.depth or run.mode == OFF or get_ident() != run.main:
            return original(self, *args, **kwargs)
        if is_compiling() or is_tracing() or run.opaque or transforming() is not None:
            return original(self, *args, **kwargs)
        if not boundary.knows(self):
            if _is_lazy(torch, self):
                # Its first call is a part of set-up: the optimizer needs the parameters that it makes.
                return deep(original, (self, *args), kwargs)
            run.begin()
            boundary.track_module(self)
        run.begin()
        leaves.note(args)
        if kwargs:
            leaves.note(kwargs.values())
        if run.mode == REPLAY:
            result = replayed("call", original, (self, *args), kwargs)
            specs.take_new()
            attributes.put(self, log.take("attrs") if log.peek() == "attrs" else ())
            return result
        seen = attributes.before(self)
        result = recorded("call", original, (self, *args), kwargs)
        if seen is not None:
            changed = attributes.changes(self, seen)
            if changed is not None:
                log.note("attrs", changed)
        return result

    return __call__


def is_transforming():
    """Whether `torch.func` transforms what is called now: what it hands in and out is its own."""
    return _transforms[0]() is not None


def _is_lazy(torch, module):
    return any(map(torch.nn.parameter.is_lazy, module.parameters()))


def skipped(kind, original):
    """Wrap a function whose result is described in the log, and which a replay does not execute."""

    @functools.wraps(original)
    def skipping(*args, **kwargs):
        if run.mode == OFF or run.depth or get_ident() != run.main:
            return original(*args, **kwargs)
        if run.is_compiling() or run.opaque or is_transforming():
            return original(*args, **kwargs)
        run.begin()
        if kwargs:
            boundary.draws_from(kwargs.get("generator"))
        return through(kind, original, args, kwargs)

    return skipping


def through(kind, original, args, kwargs, describe=specs.number_of):
    """Do a call for real and describe its result, or make a ghost of the description.

    A result that cannot be described is computed for real in the replay as well.
    """
    if run.mode == REPLAY:
        return replayed(kind, original, args, kwargs)
    return recorded(kind, original, args, kwargs, describe)


def replayed(kind, original, args, kwargs):
    """Do `through` in a replay."""
    module_hooks.play()
    raised.again(kind)
    which, state = specs.take_with_specs(kind)
    if which is None:
        result = deep(original, args, kwargs)
    else:
        result = specs.ghost_of(which)
        leaves.link(result, args, kwargs)
    if state is not None:
        set_small_state(state)
    return result


def recorded(kind, original, args, kwargs, describe=specs.number_of):
    """Do `through` in a recording."""
    mark = streams.mark()
    run.depth += 1
    module_hooks.calls += 1
    try:
        result = original(*args, **kwargs)
    except Exception as error:
        raised.note(kind, error, small_state() if streams.mark() != mark else None)
        raise
    finally:
        run.depth -= 1
        module_hooks.calls -= 1
    state = small_state() if streams.mark() != mark else None
    log.note(kind, (describe(result), state))
    return result


def _grad(original):
    """Gradients that are asked for; without `torch.optim` those of no further graph make a step."""
    wrapped = skipped("grad", original)

    @functools.wraps(original)
    def grad(*args, **kwargs):
        ours = run.is_ours() and not run.is_compiling()
        result = wrapped(*args, **kwargs)
        if ours and not kwargs.get("create_graph"):
            boundary.before_backward()
            boundary.reached("backward", None, result)
        return result

    return grad


def _backward(original):
    is_compiling = run.is_compiling

    @functools.wraps(original)
    def backward(tensors, *args, **kwargs):
        if is_compiling() or run.mode == OFF or run.depth or get_ident() != run.main:
            return original(tensors, *args, **kwargs)
        run.begin()
        boundary.before_backward()
        if run.mode == REPLAY:
            module_hooks.play()
            raised.again("backward")
            mask, inputs, state = specs.take_with_specs("backward")
            if state is not None:
                set_small_state(state)
            _give_ghost_grads(mask)
            leaves.give_gradients(tensors, inputs, kwargs.get("inputs"))
            boundary.reached("backward", None)
            return None
        mark = streams.mark()
        run.depth += 1
        module_hooks.calls += 1
        try:
            original(tensors, *args, **kwargs)
            mask = _grad_mask()
        except Exception as error:
            raised.note("backward", error, small_state() if streams.mark() != mark else None)
            raise
        finally:
            run.depth -= 1
            module_hooks.calls -= 1
        state = small_state() if streams.mark() != mark else None
        log.note("backward", (mask, leaves.mask(), state))
        run.pulse.loss(tensors)
        boundary.reached("backward", None)
        return None

    return backward


def _grad_mask():
    """Give the numbers of the parameters that have a gradient now, or None when they are as the last time."""
    mask = boundary.with_gradient()
    if mask == _masks["last"]:
        return None
    _masks["last"] = mask
    return mask


def _give_ghost_grads(mask):
    if mask is not None:
        _masks["last"] = mask
    torch = run.torch
    params = boundary.parameters()
    for number in _masks["last"] or ():
        p = params.get(number)
        if p is not None and p.grad is None:
            grad = _ghost_grads.get(id(p))
            if grad is not None and _is_held(id(p)):
                grad = None
            if grad is None or grad.shape != p.shape or grad.dtype != p.dtype:
                grad = _ghost_grads[id(p)] = torch.zeros_like(p, requires_grad=False)
            p.grad = grad


def _is_held(key):
    """Whether the script still holds the ghost gradient of an earlier step."""
    return sys.getrefcount(_ghost_grads[key]) > _COUNTED + 2  # our dict, and a name of the caller's


_COUNTED = sys.getrefcount([object()][0])


def forget_ghosts():
    """Let go of the ghost gradients."""
    _ghost_grads.clear()
    leaves.forget()
