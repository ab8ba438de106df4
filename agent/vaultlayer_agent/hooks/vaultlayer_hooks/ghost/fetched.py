"""What fetching a batch changes in this process: counts of a collator, indices that a dataset has seen.

A replay fetches nothing, so what has changed in a fetch goes into the log, and is set where the script may
read it. What changes at all is learnt by looking at everything in the first fetches, and now and then later;
a replay learns the same from the log. What is too large to be written down each time is set at the snapshot.
"""

import functools
import itertools
import sys
import types
import weakref

from vaultlayer_hooks.ghost import log, plain
from vaultlayer_hooks.ghost.known import Known
from vaultlayer_hooks.ghost.plain import PLAIN
from vaultlayer_hooks.ghost.state import run

ITEMS_MOST = 64
ARRAY_MOST_B = 1 << 20
WHOLE_MOST_B = 1 << 14
DEPTH_MOST = 5
LOOKS, LOOK_EVERY = 3, 64
CONTAINERS = (list, dict, set)
# In the order in which they are looked for; workers change copies of the last two only.
SAMPLERS, OTHERS = ("sampler", "batch_sampler"), ("dataset", "collate_fn")
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)


class _Watched:
    """What is known of one loader."""

    __slots__ = ("fetches", "moving")

    def __init__(self):
        self.fetches = 0
        self.moving = {}

    def begin(self):
        """Count a fetch; give whether it is one at which everything is looked at."""
        self.fetches += 1
        return self.fetches <= LOOKS or not self.fetches % LOOK_EVERY


_known = Known(_Watched)


def holders(loader, names):
    """Give `{path: instance}` of what a loader fetches through, and of the instances in its attributes."""
    found, seen = {}, set()
    for name in names:
        _add(getattr(loader, name, None), name, 0, found, seen)
    return found


def _add(value, path, depth, found, seen):
    if isinstance(value, types.MethodType):
        value = value.__self__
    if isinstance(value, functools.partial):
        parts = (value.func, *value.args, *value.keywords.values())
        for number, part in enumerate(parts):
            _add(part, "%s(%d)" % (path, number), depth + 1, found, seen)
        return
    opaque = (run.torch.nn.Module, run.torch.Tensor, *_FUNCTIONS)
    names = getattr(value, "__dict__", None)
    if type(names) is not dict or isinstance(value, opaque) or not type(value).__weakrefoffset__:
        return
    if id(value) in seen or depth > DEPTH_MOST:
        return
    seen.add(id(value))
    found[path] = value
    for name, item in list(names.items()):
        inside = item if isinstance(item, (list, tuple)) and len(item) < ITEMS_MOST else (item,)
        for number, held in enumerate(inside):
            _add(held, "%s.%s[%d]" % (path, name, number), depth + 1, found, seen)


def _names(loader):
    return SAMPLERS if loader.num_workers else SAMPLERS + OTHERS


def before(loader):
    """Look at what a fetch may change; give what `note` needs."""
    watched = _known.of(loader)
    if watched.begin():
        places = [
            (path, name, holder)
            for path, holder in holders(loader, _names(loader)).items()
            for name in vars(holder)
        ]
    elif watched.moving:
        places = [(path, name, at()) for (path, name), at in watched.moving.items()]
    else:
        return None
    return [(p, n, h, _mark(vars(h).get(n))) for p, n, h in places if h is not None]


def _mark(value):
    """Give what tells whether something is still this value."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind in CONTAINERS:
        return (len(value), plain.copy_of(value) if len(value) <= ITEMS_MOST else None)
    return value.copy() if _is_array(value) else None


def _is_array(value):
    numpy = sys.modules.get("numpy")
    known = numpy is not None and type(value) is numpy.ndarray
    return known and value.nbytes <= ARRAY_MOST_B and value.dtype.kind in "biufc"


def note(loader, seen):
    """Record what a fetch has changed."""
    if seen is None:
        return
    found = []
    for path, name, holder, old in seen:
        change = _change(old, vars(holder).get(name))
        if change is not None:
            found.append((path, name, change))
            _known.of(loader).moving[path, name] = weakref.ref(holder)
    if found:
        log.note("fetched", tuple(found))


def _change(old, new):
    """Give in which way a value has changed, as plain values; None for not at all, or for one not told."""
    kind = type(new)
    if kind in PLAIN:
        return None if type(old) is kind and old == new else ("plain", new)
    if kind in CONTAINERS:
        return _change_in(old, new, kind)
    return _change_of_array(old, new) if _is_array(new) else None


def _change_in(old, new, kind):
    length, copied = old if type(old) is tuple else (None, None)
    if len(new) <= ITEMS_MOST:
        whole = plain.copy_of(new)
        if whole is None or (copied is not None and plain.same(copied, whole)):
            return None
        return ("whole", plain.form(whole, new))
    if kind is set or length is None or not 0 < len(new) - length <= ITEMS_MOST:
        return None
    newest = new[length:] if kind is list else _last_items(new, len(new) - length)
    copied = plain.copy_of(newest)
    return None if copied is None else ("more", kind.__name__, tuple(copied))


def _last_items(mapping, count):
    return list(itertools.islice(reversed(mapping.items()), count))[::-1]


def _change_of_array(old, new):
    numpy = sys.modules["numpy"]
    if type(old) is not numpy.ndarray or (old.shape, old.dtype) != (new.shape, new.dtype):
        whole = ("array", new.dtype.str, new.shape, new.tobytes())
        return whole if new.nbytes <= WHOLE_MOST_B else None
    at = numpy.flatnonzero(old.ravel() != new.ravel())
    if not len(at):
        return None
    return ("cells", at.astype("<i8").tobytes(), new.ravel()[at].tobytes())


def put(loader):
    """Do what a fetch that is skipped did."""
    watched = _known.of(loader)
    watched.begin()
    if log.peek() != "fetched":
        return
    there = holders(loader, _names(loader))
    for path, name, change in log.take("fetched"):
        holder = there.get(path)
        if holder is None:
            run.diverge("what a loader fetches through is gone in the replay: %s" % path)
        names = vars(holder)
        names[name] = _made(names.get(name), change)
        watched.moving[path, name] = weakref.ref(holder)


def _made(value, change):
    """Give what a value has become, in the same object where that can be."""
    kind, *content = change
    if kind == "plain":
        return plain.made(content[0])
    if kind == "whole":
        return value if plain.refill(value, content[0]) else plain.made(content[0])
    if kind == "more":
        if type(value).__name__ == content[0]:
            (value.extend if content[0] == "list" else value.update)(content[1])
        return value
    numpy = sys.modules["numpy"]
    if kind == "array":
        return numpy.frombuffer(content[2], content[0]).reshape(content[1]).copy()
    at = numpy.frombuffer(content[0], "<i8")
    if type(value) is numpy.ndarray and len(at) * value.itemsize == len(content[1]):
        value.flat[at] = numpy.frombuffer(content[1], value.dtype)
    return value
