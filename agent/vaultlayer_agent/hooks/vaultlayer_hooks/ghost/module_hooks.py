"""The script's own hooks on modules: a replay skips the call that runs them, and runs them on stand-ins.

What a hook keeps (features, statistics) is the script's own state, and what it reads leaves tensor land. So
it is recorded as the script's own code is, inside the call that runs it: a root module's or a backward pass.
Where another thread runs them, as in the backward pass of a GPU, they are not recorded.
"""

import functools
import itertools
import weakref
from _thread import get_ident

from vaultlayer_hooks.ghost import log, specs
from vaultlayer_hooks.ghost.state import OFF, RECORD, is_user_file, is_user_module, run

REGISTERING = (
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
)
_hooks = {}
_made = itertools.count()
calls = 0
"""How many recorded calls are open inside which hooks are recorded."""
steps = 0
"""How many recorded steps are open, of optimizers and scalers, inside which those of optimizers are."""


def patch(torch):
    """Wrap the registration of hooks."""
    module = torch.nn.Module
    for name in REGISTERING:
        setattr(module, name, _registering(getattr(module, name)))


def _registering(original):
    @functools.wraps(original)
    def register(self, hook, *args, **kwargs):
        if run.mode != OFF and get_ident() == run.main and is_users(hook):
            hook = Hook(self, hook)
        return original(self, hook, *args, **kwargs)

    return register


def is_users(hook):
    """Whether a hook is the script's own."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    code = getattr(hook, "__code__", None)
    if code is not None:
        return is_user_file(code.co_filename)
    return is_user_module(type(hook).__module__)


class Hook:
    """A hook in its place; copied and pickled it is the script's own again."""

    def __init__(self, owner, hook):
        self.owner = weakref.ref(owner)
        self.hook = hook
        self.number = number = next(_made)
        # Tensors of each step may have hooks of their own.
        _hooks[number] = weakref.ref(self, lambda _: _hooks.pop(number, None))

    def is_recorded(self):
        """Whether the call that runs it runs hooks in a replay, too."""
        return calls

    def described(self, *args):
        """Give what a replay makes the arguments of, as plain values; None for what cannot be told."""
        return specs.number_of(self.seen(*args))

    def again(self, which):
        """Run it in a replay."""
        self.hook(*self.given(*specs.ghost_of(which)))

    def seen(self, *args):
        """Give the arguments that a replay makes stand-ins of."""
        return args[1:]

    def given(self, *stand_ins):
        """Give the arguments of a replay."""
        module = self.owner()
        if module is None:
            run.diverge("the module of a hook is gone in the replay")
        return (module, *stand_ins)

    def __reduce__(self):
        return (_itself, (self.hook,))

    def __eq__(self, other):
        return other is self or other == self.hook

    def __hash__(self):
        return hash(self.hook)

    def __getattr__(self, name):
        return getattr(self.hook, name)

    def __call__(self, *args):
        if run.is_compiling():
            return self.hook(*args)
        recorded = run.mode == RECORD and run.depth and self.is_recorded()
        which = self.described(*args) if recorded and get_ident() == run.main else None
        if which is None:
            return self.hook(*args)
        log.note("hook", (self.number, which, run.torch.is_grad_enabled()))
        depth, run.depth = run.depth, 0
        run.closures += 1
        try:
            return self.hook(*args)
        finally:
            run.closures -= 1
            run.depth = depth
            log.note("hooked")


def _itself(hook):
    return hook


def of_all():
    """Give the script's hooks on all optimizers, which only torch holds, with their numbers."""
    hooks = [(number, ref()) for number, ref in list(_hooks.items())]
    return [(n, h.hook) for n, h in hooks if h is not None and h.owner() is run.torch]


def own(hook):
    """Give the script's own hook, also of one in its place."""
    return hook.hook if isinstance(hook, Hook) else hook


def play():
    """Run the hooks that the next skipped call has run."""
    specs.take_new()
    while log.peek() == "hook":
        number, which, with_grad = log.take("hook")
        hook = _hooks[number]() if number in _hooks else None
        if hook is None:
            run.diverge("a hook is gone in the replay")
        run.closures += 1
        try:
            # A backward pass runs its hooks without gradients.
            with run.torch.set_grad_enabled(with_grad):
                hook.again(which)
        finally:
            run.closures -= 1
            log.take("hooked")
        specs.take_new()
