"""Attributes of modules that a skipped call changes: a counter in `forward`, an attention map, a lazy buffer.

A replay does not execute the call, so plain values go into the log where they have changed, and tensors as
their specs. Which attributes change at all is learnt by looking at all of them in the first calls, and now
and then later; a replay learns the same from the log.
"""

import weakref

from vaultlayer_hooks.ghost import plain, specs
from vaultlayer_hooks.ghost.state import run

PLAIN = frozenset((bool, int, float, str, type(None)))
CONTAINERS = frozenset((list, tuple, dict))
ITEMS_MOST = 64
LOOKS = 3
LOOK_EVERY = 64
ATTRIBUTE, BUFFER, PASSING_BUFFER = "attribute", "buffer", "passing"


class _Watched:
    """What is known of one root module."""

    __slots__ = ("calls", "modules", "moving", "places")

    def __init__(self):
        self.calls = 0
        self.moving = set()
        self.places = None
        self.modules = ()

    def begin(self):
        """Count a call; give whether it is one at which everything is looked at."""
        self.calls += 1
        return self.calls <= LOOKS or not self.calls % LOOK_EVERY

    def place(self, named):
        """Find the attributes to be compared at the next call."""
        self.places = [
            (path, weakref.ref(m), name)
            for path, m in named
            for name in vars(m)
            if (path, name) in self.moving
        ]


_watched = weakref.WeakKeyDictionary()


def _of(root):
    watched = _watched.get(root)
    if watched is None:
        watched = _watched[root] = _Watched()
    return watched


def before(root):
    """Look at what a call of a root module may change; give what `changes` needs."""
    watched = _of(root)
    if watched.begin():
        named = list(root.named_modules())
        watched.places = [(p, weakref.ref(m), name) for p, m in named for name in _names(m)]
        watched.modules = [(p, m, frozenset(vars(m)), _buffers(m)) for p, m in named]
    elif watched.places is None:
        watched.place(root.named_modules())
    return [_mark(_now(module, name)) for _, module, name in watched.places]


def _now(module, name):
    return getattr(module(), "__dict__", {}).get(name)


def _names(module):
    kinds = {*PLAIN, *CONTAINERS, run.torch.Tensor}
    return [name for name, value in vars(module).items() if type(value) in kinds]


def _buffers(module):
    return frozenset([name for name, value in module._buffers.items() if value is not None])


def _mark(value):
    """Give what tells whether an attribute is still this value, without keeping it alive."""
    kind = type(value)
    if kind in PLAIN:
        return value
    return weakref.ref(value) if kind is run.torch.Tensor else ("id", id(value))


def changes(root, seen):
    """Give what has changed in the call, as `((path, name, where, value, spec), …)`, and None for nothing."""
    watched = _of(root)
    found = []
    for (path, module, name), old in zip(watched.places, seen):
        value = _now(module, name)
        if _has_changed(old, value, (path, name) in watched.moving):
            found.append((path, name, ATTRIBUTE, value))
    if watched.modules:
        for path, module, names, buffers in watched.modules:
            found += [(path, n, ATTRIBUTE, v) for n, v in vars(module).items() if n not in names]
            found += [_new_buffer(path, module, n) for n in sorted(_buffers(module) - buffers)]
        watched.moving.update([change[:2] for change in found if change[2] is ATTRIBUTE])
        watched.place([(path, module) for path, module, _, _ in watched.modules])
        watched.modules = ()
    described = [_described(change) for change in found] if found else ()
    return tuple([change for change in described if change is not None]) or None


def _has_changed(old, new, is_moving):
    kind = type(new)
    if kind in PLAIN:
        return new is not old and (kind is not type(old) or new != old)
    if kind is run.torch.Tensor:
        return type(old) is not weakref.ref or old() is not new
    return is_moving or old != ("id", id(new))


def _new_buffer(path, module, name):
    passing = name in module._non_persistent_buffers_set
    return (path, name, PASSING_BUFFER if passing else BUFFER, module._buffers[name])


def _described(change):
    path, name, where, value = change
    kind = type(value)
    if kind in PLAIN:
        return (path, name, where, value, None)
    if kind is run.torch.Tensor:
        kept = None
    elif kind in CONTAINERS and len(value) <= ITEMS_MOST:
        copied = plain.copy_of(value)
        kept = plain.form(copied, value) if copied is not None else None
    else:
        return None
    which = specs.number_of(value) if kept is None else None
    return None if kept is None and which is None else (path, name, where, kept, which)


def put(root, recorded):
    """Do what a skipped call did: set what it had changed."""
    watched = _of(root)
    looked = watched.begin()
    watched.places = None
    by_path = dict(root.named_modules()) if recorded else {}
    for path, name, where, value, which in recorded:
        module = by_path[path]
        made = plain.made(value) if which is None else specs.ghost_of(which)
        if where == ATTRIBUTE:
            vars(module)[name] = made
            if looked:
                watched.moving.add((path, name))
            continue
        module._buffers[name] = made
        if where == PASSING_BUFFER:
            module._non_persistent_buffers_set.add(name)
