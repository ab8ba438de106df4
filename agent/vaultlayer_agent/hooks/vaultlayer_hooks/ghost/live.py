"""Every live tensor that the walk did not reach: found, and named or a reason to refuse."""

import gc
import itertools
import types

from vaultlayer_hooks.ghost import caches, owners, whose
from vaultlayer_hooks.ghost.referents import referents
from vaultlayer_hooks.ghost.state import HOOKS_DIR, run
from vaultlayer_hooks.ghost.walk import CACHE, LIBRARY, owner_of

HIDDEN = (
    types.GeneratorType,
    zip,
    enumerate,
    map,
    filter,
    reversed,
    itertools.islice,
    itertools.chain,
    itertools.cycle,
    itertools.starmap,
    itertools.takewhile,
    itertools.zip_longest,
    type(iter([])),
    type(iter(())),
    type(iter({}.items())),
    type(iter({}.values())),
)


def unreached(walk, ours):
    """Give the live tensors that the walk has not reached, after looking into hidden iterators.

    An iterator that a running `for` holds lies on the value stack, where no frame shows it. Those that hold
    unreached tensors become roots, named by what they are; two that cannot be told apart stay unnamed.

    Args:
        walk: complete otherwise; the tensors of hidden iterators are added to it.
        ours: ids of tensors of our own, and of tensors and generators that rebuilt iterators own.
    """
    tensor = run.torch.Tensor
    everything = gc.get_objects()
    missing = _missing(everything, tensor, walk, ours)
    caches.see(walk, of_kind(everything, CACHE), missing)
    missing = [t for t in missing if id(t) not in walk.tensors]
    if missing:
        _enter_classes(walk)
        missing = [t for t in missing if id(t) not in walk.tensors]
    if not missing:
        return []
    hidden, roots = of_kind(everything, HIDDEN), {}
    # It holds what is made for a look into a frame, which would be found there once more by the next one.
    del everything
    for value in hidden:
        if id(value) not in walk.seen and id(value) not in ours:
            name = _name(value)
            if name is not None:
                roots.setdefault(name, []).append(value)
    inner = _nested([v for same in roots.values() for v in same])
    for name in sorted(roots):
        tops = [v for v in roots[name] if id(v) not in inner and id(v) not in walk.seen]
        if len(tops) == 1:
            walk.root("hidden:" + name, tops[0], LIBRARY)
        elif tops and any(_holds_tensor(top, missing) for top in tops):
            _add_alike(walk, name, tops, missing)
    return [t for t in missing if id(t) not in walk.tensors]


def _enter_classes(walk):
    """Enter the classes that a library's functions have made for modules, as for parametrized ones.

    The properties of such a class keep the module that it was made for, also when only a copy is left.
    """
    for number, path in list(walk.places.items()):
        kind = type(walk.seen[number])
        made = issubclass(kind, run.torch.nn.Module) and not whose.is_in_its_module(kind)
        if made and owner_of(kind) == LIBRARY:
            for name, item in whose.class_items(kind):
                walk.root("%s.__class__.%s" % (path, name), item, LIBRARY)


def _missing(everything, tensor, walk, ours):
    found = []
    for value in of_kind(everything, tensor):
        known = id(value) in walk.tensors or id(value) in ours
        if not known and _has_data(value) and not run.constants.holds(value):
            found.append(value)
    return found


def _has_data(tensor):
    """Whether a tensor is more than a description or an empty one; compilers keep such for each graph."""
    if type(tensor).__module__.startswith("torch._subclasses.") or tensor.device.type == "meta":
        return False
    return tensor.layout is not run.torch.strided or tensor.untyped_storage().nbytes() > 0


def of_kind(everything, kinds):
    """Give the instances of a class or classes; asks each type once, for there are half a million objects."""
    wanted = map(_Kinds(kinds).__getitem__, map(type, everything))
    return list(itertools.compress(everything, wanted))


class _Kinds(dict):
    """Whether a type is one of the kinds, by type; it learns as it is asked, so that one pass will do."""

    def __init__(self, kinds):
        super().__init__()
        self._kinds = kinds

    def __missing__(self, kind):
        self[kind] = found = issubclass(kind, self._kinds)
        return found


def _name(value):
    """Give the name of a hidden iterator; None for one that cannot hold what we look for."""
    if isinstance(value, types.GeneratorType):
        frame = value.gi_frame
        if frame is None or frame.f_code.co_filename.startswith((HOOKS_DIR, "<frozen")):
            return None
        code = frame.f_code
        return "%s:%s:%d" % (code.co_filename, code.co_name, frame.f_lineno)
    return type(value).__name__


def _nested(values):
    ids = {id(v) for v in values}
    inner = set()
    for value in values:
        for held in referents(value):
            inner.update({id(held)} & ids)
            if isinstance(held, (tuple, list)):
                inner.update({id(x) for x in held} & ids)
    return inner


def _holds_tensor(value, missing):
    wanted = {id(t) for t in missing}
    level = [value]
    for _ in range(3):
        level = [x for v in level for x in gc.get_referents(v)][:10_000]
        if any(id(x) in wanted for x in level):
            return True
    return False


def _add_alike(walk, name, tops, missing):
    """Tell iterators of one type apart by the forms of what they hold; leave those that look the same."""
    holding = {}
    for top in tops:
        if _holds_tensor(top, missing):
            holding.setdefault(_form(top), []).append(top)
    for form, same in sorted(holding.items()):
        if len(same) == 1:
            walk.root("hidden:%s:%s" % (name, form), same[0], LIBRARY)


def _form(top):
    shapes = []
    level = [top]
    for _ in range(3):
        level = [x for v in level for x in gc.get_referents(v)][:10_000]
        shapes += [(tuple(x.shape), str(x.dtype)) for x in level if isinstance(x, run.torch.Tensor)]
        level = [x for x in level if isinstance(x, (list, tuple, *HIDDEN))]
    return repr(shapes)


def held_by_python(tensors, walk):
    """Give those of the tensors that Python holds; the others only an autograd graph keeps."""
    # From Python 3.13 on, the arguments of the very call are found as well.
    given = tuple(tensors)
    own = (id(tensors), id(given))
    referrers = [r for r in gc.get_referrers(*given) if id(r) not in own]
    del given
    referrers = [r for r in referrers if not isinstance(r, types.FrameType)]
    held = {id(x) for x in gc.get_referents(*referrers)} if referrers else set()
    seen = [t for t in tensors if id(t) in held]
    arrays = [array for array, _, _ in walk.arrays.values()]
    nodes = {t.grad_fn for t, _ in walk.tensors.values()}.union([t.grad_fn for t in tensors])
    return seen or owners.held_unseen(tensors, arrays, nodes - {None})
