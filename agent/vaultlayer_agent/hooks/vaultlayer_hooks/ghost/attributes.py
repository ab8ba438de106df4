"""Plain attributes of modules that a skipped call changes: a counter in `forward`, a flag set at first use.

A replay does not execute the call, so the values go into the log where they have changed. Which attributes
change at all is learnt by looking at all of them in the first calls, and now and then later.
"""

import weakref

PLAIN = frozenset((bool, int, float, str, type(None)))
LOOKS = 3
LOOK_EVERY = 64


class _Watched:
    """What is known of one root module."""

    __slots__ = ("calls", "moving", "places")

    def __init__(self):
        self.calls = 0
        self.moving = set()
        self.places = []


_watched = weakref.WeakKeyDictionary()


def before(root):
    """Look at what a call of a root module may change; give what `changes` needs."""
    watched = _watched.get(root)
    if watched is None:
        watched = _watched[root] = _Watched()
    watched.calls += 1
    if watched.calls > LOOKS and watched.calls % LOOK_EVERY:
        return [vars(module).get(name) for _, module, name in watched.places]
    watched.places = [(path, m, name) for path, m in root.named_modules() for name in _names(m)]
    return [vars(module)[name] for _, module, name in watched.places]


def _names(module):
    return [name for name, value in vars(module).items() if type(value) in PLAIN]


def changes(root, seen):
    """Give what has changed during the call, as `((path, name, value), …)`, and None for nothing."""
    watched = _watched[root]
    found = []
    for place, old in zip(watched.places, seen):
        new = vars(place[1]).get(place[2])
        if new is not old and (type(new) is not type(old) or new != old) and type(new) in PLAIN:
            found.append((place, new))
    if watched.calls <= LOOKS or not watched.calls % LOOK_EVERY:
        watched.moving.update([(path, name) for (path, _, name), _ in found])
        watched.places = [p for p in watched.places if (p[0], p[2]) in watched.moving]
    return tuple([(path, name, new) for (path, _, name), new in found]) or None


def put(root, recorded):
    """Set what a skipped call had changed."""
    by_path = dict(root.named_modules())
    for path, name, value in recorded:
        vars(by_path[path])[name] = value
