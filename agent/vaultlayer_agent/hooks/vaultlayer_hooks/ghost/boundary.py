"""Where a snapshot may be taken: at the end of the optimizer step that closes a cycle.

There nothing lies on the value stack and no graph is needed any more. Which step closes the cycle is learnt
from the order in which optimizers step (D, G, D, G; or five times D, then G): the one that steps least often,
the later one of equals. A loop without `torch.optim` is stepped by its backward passes, one without those by
its gradients of `torch.func`.
"""

import sys
import weakref
from collections import deque

from vaultlayer_hooks.ghost.state import OFF, REPLAY, run

HAND_WRITTEN_AFTER = 4
RECENT = 64
SWEPT_EVERY = 64


class _Place:
    """What is known of one place that ends a step."""

    __slots__ = ("banned", "order")

    def __init__(self, order):
        self.order = order
        self.banned = False


class _Held:
    """Stands for a weak reference to what can have none, as torch's generators up to 2.7."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __call__(self):
        if self.value is not None and self.count() <= _ALONE:
            self.value = None
        return self.value

    def count(self):
        """Give how many references there are, those of this very look included."""
        return sys.getrefcount(self.value)


_ALONE = _Held(object()).count()


def _reference(value):
    try:
        return weakref.ref(value)
    except TypeError:
        return _Held(value)


class Alive:
    """Weak references by number, in the order of first sight; what has died is forgotten now and then.

    A script may make an optimizer for each task or step, and every call asks for those that live.
    """

    def __init__(self):
        self._refs = {}
        self._made = 0

    def add(self, value):
        """Remember something; give its number."""
        number = self._made
        self._made += 1
        if not number % SWEPT_EVERY:
            self._refs = {n: ref for n, ref in self._refs.items() if ref() is not None}
        self._refs[number] = _reference(value)
        return number

    def __len__(self):
        return len(self._refs)

    @property
    def made(self):
        """How many there have been, dead ones included."""
        return self._made

    def items(self):
        """Give `(number, value)` of those that live."""
        found = [(number, ref()) for number, ref in self._refs.items()]
        return [(number, value) for number, value in found if value is not None]

    def numbers(self):
        """Give the numbers of those that live."""
        return [number for number, ref in self._refs.items() if ref() is not None]

    def number_of(self, value):
        """Give something's number; -1 for what was never added."""
        for number, ref in self._refs.items():
            if ref() is value:
                return number
        return -1


class Boundaries:
    """The modules, optimizers and step places of this process, in the order of their first use."""

    def __init__(self):
        self.modules = Alive()
        self.optimizers = Alive()
        self.generators = Alive()
        self.known_modules = {}
        self.params = None
        self.numbers = {}
        self.numbered = 0
        self.places = {}
        self.recent = deque(maxlen=RECENT)
        self.backwards = 0
        self.transforms = 0
        self.transforms_join = False
        self.inner_steps = 0
        self.outer_steps = 0
        self.stepped = None
        self.zeroed = {}
        self.waiting = True
        self.always_zeroed = {}
        self.scaled = False

    def closes(self, key):
        """Whether this place closes the cycle, as far as has been seen."""
        recent = list(self.recent)
        usable = [k for k in set(recent) if not self.places[k].banned]
        if key not in usable:
            return False
        return key == min(usable, key=lambda k: (recent.count(k), -self.places[k].order))


found = Boundaries()


def forget():
    """Start anew."""
    global found
    found = Boundaries()


def knows(module):
    """Whether a root module has been called before."""
    known = found.known_modules.get(id(module))
    return known is not None and known() is module


def track_module(module):
    """Remember a root module, once."""
    if not knows(module):
        found.known_modules[id(module)] = weakref.ref(module)
        found.modules.add(module)
        found.params = None
        _number_all(module.parameters())


def track_optimizer(optimizer):
    """Remember an optimizer."""
    found.optimizers.add(optimizer)
    found.params = None
    _number_all(parameters_of(optimizer))


def optimizers():
    """Give the optimizers that are alive, with their numbers."""
    return found.optimizers.items()


def modules():
    """Give the root modules that are alive, with their numbers."""
    return found.modules.items()


def draws_from(generator):
    """Remember a random stream from which a call draws that a replay skips; None is no stream."""
    if generator is not None and found.generators.number_of(generator) < 0:
        found.generators.add(generator)


def generators():
    """Give the streams that are alive, with their numbers."""
    return found.generators.items()


def parameters_of(optimizer):
    """Give an optimizer's parameters in the order of its groups."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def parameters():
    """Give `{number: parameter}` of all that optimizers and root modules own, each once.

    Numbers are given at first sight: which owners are alive depends on when garbage was swept.
    """
    alive = [(number, ref()) for number, ref in _references().items()]
    return {number: p for number, p in alive if p is not None}


def with_gradient():
    """Give the numbers of those parameters that have a gradient."""
    items = _references().items()
    return tuple([n for n, ref in items if (p := ref()) is not None and p.grad is not None])


def _references():
    if found.params is None:
        own = [p for _, o in optimizers() for p in parameters_of(o)]
        own += [p for _, m in modules() for p in m.parameters()]
        _number_all(own)
        found.numbers = {id(p): found.numbers[id(p)] for p in own}
        # Modules replace parameters, and those that only we held would be found as held by nobody.
        found.params = {number: ref for ref, number in found.numbers.values()}
    return found.params


def _number_all(params):
    for p in params:
        known = found.numbers.get(id(p))
        if known is None or known[0]() is not p:
            found.numbers[id(p)] = (weakref.ref(p), found.numbered)
            found.numbered += 1


def stepped_parameter(turn):
    """Give one parameter of the optimizer that has stepped last, and how often each had its turn before.

    Without such an optimizer they are those of the root modules; None and 0 where there are none.
    """
    owner = found.stepped() if found.stepped is not None else None
    groups = [group["params"] for group in getattr(owner, "param_groups", ())]
    count = sum(map(len, groups))
    if not count:
        groups = [list(parameters().values())]
        count = len(groups[0])
    if not count:
        return None, 0
    at = turn % count
    for params in groups:
        if at < len(params):
            break
        at -= len(params)
    return params[at], turn // count


def hides_dropout():
    """Give the class of a recurrent module whose dropout draws from a state that nobody can read, or ""."""
    cudnn, base = run.torch.backends.cudnn, run.torch.nn.RNNBase
    if not cudnn.enabled:
        return ""
    for _, module in modules():
        for part in module.modules():
            draws = isinstance(part, base) and part.dropout and part.num_layers > 1
            if draws and any(p.is_cuda for p in part.parameters()):
                return type(part).__name__
    return ""


def zeroed(owner):
    """Note that gradients have been cleared, by an optimizer or by a module."""
    if hasattr(owner, "param_groups"):
        found.zeroed[found.optimizers.number_of(owner)] = True
    else:
        found.zeroed.update(dict.fromkeys(found.optimizers.numbers(), True))


def before_backward():
    """Learn whether gradients are always cleared between a boundary and the next backward pass."""
    found.backwards += 1
    if not found.waiting:
        return
    found.waiting = False
    before, found.always_zeroed = found.always_zeroed, {}
    for index in found.optimizers.numbers():
        known = before.get(index)
        cleared = bool(found.zeroed.get(index))
        if not cleared and known:
            run.proof.gradients_kept(index)
        found.always_zeroed[index] = cleared and known is not False


def keeps_gradients(index):
    """Whether an optimizer's gradients may still be needed after a boundary."""
    return not found.always_zeroed.get(index)


def inner_step(owner):
    """Note that an optimizer steps inside a call that is ours already."""
    found.inner_steps += 1
    found.stepped = weakref.ref(owner)


def inner_steps():
    """Give how many such steps there have been."""
    return found.inner_steps


def hand_written():
    """Whether steps are made without `torch.optim`."""
    return not found.outer_steps and found.backwards > HAND_WRITTEN_AFTER


def transformed(joins):
    """Note a gradient of `torch.func`; `joins`: it is part of a graph, as in a loss of derivatives."""
    found.transforms += 1
    found.transforms_join = found.transforms_join or joins


def by_transforms():
    """Whether steps are made by gradients of `torch.func` alone."""
    others = found.optimizers.made or found.backwards or found.transforms_join
    return not others and found.transforms >= HAND_WRITTEN_AFTER


def reached(kind, owner, result=None):
    """A call that may end a step has ended, and is about to give `result`."""
    if run.mode == OFF or run.closures:
        return
    if kind == "backward":
        if not hand_written():
            return
        key = kind
    elif kind == "transform":
        key = kind
    elif kind == "update":
        found.outer_steps += 1
        key = "update"
    else:
        found.outer_steps += 1
        found.stepped = weakref.ref(owner)
        key = found.optimizers.number_of(owner)
    place = found.places.get(key)
    if place is None:
        found.places[key] = _Place(len(found.places))
    found.recent.append(key)
    run.steps += 1
    found.waiting = True
    found.zeroed.clear()
    run.depth += 1
    run.result = result
    try:
        if run.mode == REPLAY:
            run.replayed_step(key)
        else:
            run.recorded_step(key)
    except Exception as failure:
        run.give_up("at a boundary: %s: %s" % (type(failure).__name__, failure))
    finally:
        run.result = None
        run.depth -= 1


def ban(key):
    """Never again take a snapshot at this place."""
    found.places[key].banned = True
