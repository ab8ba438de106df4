"""The script's own hooks on the steps of optimizers: a replay skips the step, and runs them in its place.

They count, average weights, clip gradients and read norms, as the script's own code does after a step; so
they are recorded as that is, and a replay gives them the optimizer itself.
"""

import functools
import sys
from _thread import get_ident

from vaultlayer_hooks.ghost import boundary, module_hooks, optimizers
from vaultlayer_hooks.ghost.state import OFF, run

# `torch.optim` does not keep it as an attribute.
MODULE = "torch.optim.optimizer"
REGISTERING = ("register_step_pre_hook", "register_step_post_hook")
REGISTERING_FOR_ALL = ("register_optimizer_step_pre_hook", "register_optimizer_step_post_hook")


def patch(torch):
    """Wrap the registration of hooks on one optimizer, and on all of them."""
    base, module = torch.optim.Optimizer, sys.modules[MODULE]
    for name in REGISTERING:
        setattr(base, name, _registering(getattr(base, name)))
    for name in REGISTERING_FOR_ALL:
        setattr(module, name, _registering_for_all(getattr(module, name)))


def _registering(original):
    @functools.wraps(original)
    def register(self, hook):
        return original(self, _in_place(self, hook))

    return register


def _registering_for_all(original):
    @functools.wraps(original)
    def register(hook):
        return original(_in_place(run.torch, hook))

    return register


def _in_place(owner, hook):
    # One that a skipped call registers is not there in a replay.
    ours = run.mode != OFF and not run.depth and get_ident() == run.main
    return _StepHook(owner, hook) if ours and module_hooks.is_users(hook) else hook


class _StepHook(module_hooks.Hook):
    """A hook that gets an optimizer before or after its step."""

    def is_recorded(self):
        """Whether the call that runs it runs hooks in a replay, too."""
        return module_hooks.steps or module_hooks.calls

    def described(self, optimizer, args, kwargs):
        """Give the number of the optimizer, the form that its state gets, and which arguments there are."""
        number = boundary.found.optimizers.number_of(optimizer)
        if number < 0:
            return None
        return (number, optimizers.new_form(optimizer), len(args) - 1, tuple(kwargs))

    def again(self, which):
        """Run it in a replay."""
        number, form, count, names = which
        optimizer = dict(boundary.optimizers()).get(number)
        if optimizer is None:
            run.diverge("the optimizer of a hook is gone in the replay")
        if form is not None:
            optimizers.give_state(optimizer, form)
        self.hook(optimizer, (optimizer, *[_unknown] * count), dict.fromkeys(names, _unknown))


def _unknown(*_, **__):
    """Stand for an argument of a skipped step, as a rule the closure, which no hook should call."""
    run.diverge("a hook uses what an optimizer's step was given")
