"""Optimizers and loss scalers: their steps are skipped in a replay, and end where a snapshot may be taken."""

import functools
from _thread import get_ident

from vaultlayer_hooks.ghost import boundary, log, module_hooks, specs
from vaultlayer_hooks.ghost.calls import skipped
from vaultlayer_hooks.ghost.known import Known
from vaultlayer_hooks.ghost.rng import set_small_state, small_state, streams
from vaultlayer_hooks.ghost.state import OFF, REPLAY, run

STATE_LOOKS = 3
_looks = Known(lambda: [0, -1])


def patch(torch):
    """Wrap `step` of every optimizer class at its first instance, `zero_grad`, and the scaler."""
    base = torch.optim.Optimizer
    base.__init__ = _init(base.__init__)
    base.zero_grad = _zero_grad(base.zero_grad)
    torch.nn.Module.zero_grad = _zero_grad(torch.nn.Module.zero_grad)
    scaler = torch.amp.GradScaler if hasattr(torch.amp, "GradScaler") else torch.cuda.amp.GradScaler
    scaler.step = _scaler_step(scaler.step)
    scaler.unscale_ = skipped("unscale", scaler.unscale_)
    scaler.update = _scaler_update(scaler.update)


def _init(original):
    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        original(self, *args, **kwargs)
        try:
            boundary.track_optimizer(self)
            cls = type(self)
            if not getattr(cls.step, "vaultlayer", False):
                cls.step = _step(cls.step)
        except Exception as failure:
            run.give_up("optimizers cannot be wrapped: %s" % type(failure).__name__)

    return __init__


def _zero_grad(original):
    @functools.wraps(original)
    def zero_grad(self, *args, **kwargs):
        if run.mode != OFF and get_ident() == run.main:
            boundary.zeroed(self)
            plain = run.mode == REPLAY and run.started and not (args or kwargs)
            if plain and hasattr(self, "_zero_grad_profile_name"):
                return _forget_gradients(self)
        return original(self, *args, **kwargs)

    return zero_grad


def _forget_gradients(optimizer):
    """Do what `zero_grad()` does, without the profiler's mark, which is a third of a skipped step."""
    for p in boundary.parameters_of(optimizer):
        p.grad = None


def _step(original):
    @functools.wraps(original)
    def step(self, *args, **kwargs):
        if run.mode == OFF or run.is_compiling():
            return original(self, *args, **kwargs)
        if get_ident() != run.main:
            if not run.depth:
                run.give_up("an optimizer steps in another thread")
            return original(self, *args, **kwargs)
        if run.depth:
            boundary.inner_step(self)
            return None if run.mode == REPLAY and run.skipping else original(self, *args, **kwargs)
        run.begin()
        closure = args[0] if args and callable(args[0]) else kwargs.get("closure")
        if run.mode == REPLAY:
            result = _replay_step(self, closure)
        else:
            result = _record_step(original, self, args, kwargs, closure)
        boundary.reached("step", self, result)
        return result

    step.vaultlayer = True
    # torch wraps what does not bear this mark, and would do so once for each instance.
    step.hooked = getattr(original, "hooked", None)
    return step


def _record_step(original, self, args, kwargs, closure):
    if closure is not None:
        wrapped = _closure(closure)
        if args:
            args = (wrapped, *args[1:])
        else:
            kwargs = dict(kwargs, closure=wrapped)
    mark, size = streams.mark(), len(self.state)
    run.depth += 1
    module_hooks.steps += 1
    try:
        result = original(self, *args, **kwargs)
        form = _state_form(self, size)
    finally:
        run.depth -= 1
        module_hooks.steps -= 1
    state = small_state() if streams.mark() != mark else None
    log.note("step", (specs.number_of(result), form, state))
    return result


def _closure(closure):
    """Let a closure's own calls be recorded, and no boundary be found inside it."""

    def recorded():
        log.note("closure")
        depth, run.depth = run.depth, 0
        run.closures += 1
        try:
            return closure()
        finally:
            run.closures -= 1
            run.depth = depth

    return recorded


def _replay_step(self, closure):
    module_hooks.play()
    while log.peek() == "closure":
        log.take("closure")
        run.closures += 1
        try:
            with run.torch.enable_grad():
                closure()
        finally:
            run.closures -= 1
        module_hooks.play()
    which, form, state = log.take("step")
    if form is not None:
        give_state(self, form)
    if state is not None:
        set_small_state(state)
    if which is None:
        return run.diverge("the result of an optimizer's step cannot be described")
    return specs.ghost_of(which)


def _state_form(self, size):
    """Give the number of the spec of an optimizer's state while it still changes its form, or None.

    Args:
        self: the optimizer, after its step.
        size: of its state before the step; the script may have emptied it.
    """
    looks = _looks.of(self)
    if looks[0] >= STATE_LOOKS and looks[1] == size == len(self.state):
        return None
    looks[0] += 1
    looks[1] = len(self.state)
    return _number_of_form(self)


def new_form(optimizer):
    """Give what `_state_form` will give after this step, to a hook that runs before its end."""
    looks = _looks.of(optimizer)
    known = looks[0] >= STATE_LOOKS and looks[1] == len(optimizer.state)
    return None if known else _number_of_form(optimizer)


def _number_of_form(self):
    form = []
    for index, p in enumerate(boundary.parameters_of(self)):
        state = self.state.get(p)
        if state is None:
            continue
        for name, value in state.items():
            try:
                form.append((index, name, specs.spec(value)))
            except specs.Unknown:
                continue
    return specs.number(("f", tuple(form)))


def looks_of(optimizer):
    """Give how often an optimizer's state was looked at, and its size then."""
    return tuple(_looks.of(optimizer))


def set_looks(optimizer, looks):
    """Set what `looks_of` gave."""
    _looks.put(optimizer, list(looks))


def give_state(self, which):
    """Give an optimizer state of the form with number `which`."""
    params = boundary.parameters_of(self)
    for index, name, described in specs.described(which)[1]:
        state = self.state[params[index]]
        if name not in state:
            state[specs.interned(name)] = specs.ghost(described)


def _scaler_step(original):
    @functools.wraps(original)
    def step(self, optimizer, *args, **kwargs):
        if run.mode == OFF or run.depth or get_ident() != run.main:
            return original(self, optimizer, *args, **kwargs)
        if not self._enabled:
            return original(self, optimizer, *args, **kwargs)
        run.begin()
        if run.mode == REPLAY:
            module_hooks.play()
            which, stepped, form = log.take("scaler_step")
            if form is not None:
                give_state(_inner(optimizer), form)
            if stepped:
                _step_as_ghost(optimizer)
            return specs.ghost_of(which) if which is not None else None
        before, inner = boundary.inner_steps(), _inner(optimizer)
        size = len(inner.state)
        run.depth += 1
        module_hooks.steps += 1
        try:
            result = original(self, optimizer, *args, **kwargs)
            stepped = boundary.inner_steps() != before
            form = _state_form(inner, size) if stepped else None
        finally:
            run.depth -= 1
            module_hooks.steps -= 1
        log.note("scaler_step", (specs.number_of(result), stepped, form))
        return result

    return step


def _inner(optimizer):
    """Give the optimizer inside a wrapper that has no parameters of its own."""
    while not hasattr(optimizer, "param_groups") and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def _step_as_ghost(optimizer):
    """Let the wrappers around a step notice it; the step itself gives up at our own wrapper."""
    run.depth += 1
    run.skipping += 1
    try:
        optimizer.step()
    finally:
        run.skipping -= 1
        run.depth -= 1


def _scaler_update(original):
    wrapped = skipped("scaler_update", original)

    @functools.wraps(original)
    def update(self, *args, **kwargs):
        if run.mode == OFF or run.depth or get_ident() != run.main or not self._enabled:
            return original(self, *args, **kwargs)
        result = wrapped(self, *args, **kwargs)
        boundary.reached("update", self, result)
        return result

    return update
