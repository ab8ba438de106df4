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
from gc import get_referents

from vaultlayer_hooks.ghost import kinds, log, plain, rng
from vaultlayer_hooks.ghost.known import Known
from vaultlayer_hooks.ghost.plain import PLAIN
from vaultlayer_hooks.ghost.state import is_user_file, is_user_module, run

ITEMS_MOST = 64
ARRAY_MOST_B = 1 << 20
WHOLE_MOST_B = 1 << 14
DEPTH_MOST = 5
LOOKS, LOOK_EVERY = 3, 64
CONTAINERS = (list, dict, set)
# In the order in which they are looked for; workers change copies of the last two only.
SAMPLERS, OTHERS = ("sampler", "batch_sampler"), ("dataset", "collate_fn")
_NO_HOLDERS = (types.BuiltinFunctionType, types.ModuleType, type)
GLOBALS = "globals of "


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
    return _reach(loader, names).instances


def streams(loader):
    """Give the random streams that a loader, and what its fetches call, hold or name; in a fixed order."""
    return _reach(loader, (*SAMPLERS, "generator", *OTHERS)).streams


class Reach:
    """What a loader fetches through: instances, random streams, and globals that its functions name."""

    def __init__(self):
        self.instances = {}
        self.globals = {}
        self.streams = []
        self._seen = set()
        self._containers = set()

    def add(self, value, path, depth=0):
        """Add what a fetch may call, and what that holds."""
        if isinstance(value, types.MethodType):
            value = value.__self__
        if isinstance(value, functools.partial):
            parts = (value.func, *value.args, *value.keywords.values())
            for number, part in enumerate(parts):
                self.add(part, "%s(%d)" % (path, number), depth + 1)
        elif isinstance(value, types.FunctionType):
            self._add_function(value, path, depth)
        elif rng.is_stream(value):
            if not any(value is one for one in self.streams):
                self.streams.append(value)
        else:
            if isinstance(value, (list, tuple, dict)):
                self._add_items(value, path, depth)
            self._add_instance(value, path, depth)

    def _add_items(self, value, path, depth):
        """Add what a container holds; it is no level of depth of its own."""
        if id(value) in self._containers or len(value) >= ITEMS_MOST:
            return
        self._containers.add(id(value))
        for number, item in enumerate(list(value.values() if isinstance(value, dict) else value)):
            self.add(item, "%s[%d]" % (path, number), depth)

    def _add_instance(self, value, path, depth):
        opaque = (run.torch.nn.Module, run.torch.Tensor, *_NO_HOLDERS)
        names = getattr(value, "__dict__", None)
        if (
            type(names) is not dict
            or isinstance(value, opaque)
            or not type(value).__weakrefoffset__
        ):
            return
        if id(value) in self._seen or depth > DEPTH_MOST:
            return
        self._seen.add(id(value))
        self.instances[path] = value
        for cls in type(value).__mro__:
            for function in list(vars(cls).values()) if is_user_module(cls.__module__) else ():
                if isinstance(function, types.FunctionType):
                    self._add_function(function, path + "()", depth + 1)
        for name, item in list(names.items()):
            self.add(item, "%s.%s" % (path, name), depth + 1)

    def _add_function(self, function, path, depth):
        """Add what a function of the script's names: globals, and what its closure holds."""
        code = function.__code__
        if id(function) in self._seen or depth > DEPTH_MOST or not is_user_file(code.co_filename):
            return
        self._seen.add(id(function))
        for name, cell in zip(code.co_freevars, function.__closure__ or ()):
            for held in get_referents(cell):
                self.add(held, "%s<%s>" % (path, name), depth + 1)
        module = function.__globals__.get("__name__")
        for name in _names_in(code):
            value = function.__globals__.get(name)
            if self.is_place(value):
                if vars(sys.modules.get(module, types)) is function.__globals__:
                    self.globals[GLOBALS + module, name] = sys.modules[module]
            else:
                self.add(value, "%s.%s" % (path, name), depth + 1)

    def is_place(self, value):
        """Whether the name of a global is a place of its own, and not only what its value holds."""
        return type(value) in PLAIN or type(value) in CONTAINERS or _is_array(value)


def _names_in(code):
    """Give the names that code uses of its globals, and of attributes."""
    names = list(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names += _names_in(inner)
    return names


def _reach(loader, names):
    reach = Reach()
    for name in names:
        reach.add(getattr(loader, name, None), name)
    return reach


def _names(loader):
    return SAMPLERS if loader.num_workers else SAMPLERS + OTHERS


def before(loader):
    """Look at what a fetch may change; give what `note` needs."""
    watched = _known.of(loader)
    if watched.begin():
        reach = _reach(loader, _names(loader))
        places = [(p, name, held) for p, held in reach.instances.items() for name in vars(held)]
        places += [(path, name, module) for (path, name), module in reach.globals.items()]
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
    return value.copy() if _is_array(value) else kinds.form(value, kind)


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


def whole(value):
    """Give a small value as plain values, of which `made` makes it again; None for another."""
    return ("plain", None) if value is None else _change(None, value)


def _change(old, new):
    """Give in which way a value has changed, as plain values; None for not at all, or for one not told."""
    kind = type(new)
    if kind in PLAIN:
        return None if type(old) is kind and old == new else ("plain", new)
    if kind in CONTAINERS:
        return _change_in(old, new, kind)
    if _is_array(new):
        return _change_of_array(old, new)
    form = kinds.form(new, kind)
    return None if form is None or (type(old) is tuple and old == form) else ("plain", form)


def _change_in(old, new, kind):
    length, copied = old if type(old) is tuple and len(old) == 2 else (None, None)
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
        holder = (
            sys.modules.get(path[len(GLOBALS) :]) if path.startswith(GLOBALS) else there.get(path)
        )
        if holder is None:
            run.diverge("what a loader fetches through is gone in the replay: %s" % path)
        names = vars(holder)
        names[name] = made(names.get(name), change)
        watched.moving[path, name] = weakref.ref(holder)


def made(value, change):
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
