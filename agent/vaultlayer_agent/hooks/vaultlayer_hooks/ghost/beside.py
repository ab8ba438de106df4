"""What `forward` changes beside the attributes of its modules: counts in globals and classes, meters, lists.

Looked at are the globals that its code names, classes and instances of the script's own, containers and
random streams that modules hold. What has changed in a call goes into the log, and a replay sets it after
the skipped call, where the script may read it. All of it is compared at the snapshot, as what only the
script changes. What goes by addresses is set there alone: another process has others.
"""

import sys
import types
import weakref
from collections import Counter, OrderedDict, defaultdict, deque

from vaultlayer_hooks.ghost import addresses, fetched, kinds, plain, rng
from vaultlayer_hooks.ghost.classes import ByClass
from vaultlayer_hooks.ghost.plain import PLAIN
from vaultlayer_hooks.ghost.state import Diverged, is_user_module, run
from vaultlayer_hooks.ghost.whose import is_namespace, is_users_name

ITEMS_MOST = fetched.ITEMS_MOST
HOLDERS_MOST = 256
LOOK_EVERY = 1024
NESTED_MOST = 3
LISTS, MAPPINGS = (list, deque), (dict, Counter, OrderedDict, defaultdict)
CONTAINERS = frozenset((*LISTS, *MAPPINGS, set))
_streams = ByClass(lambda kind: rng.is_kind_of_stream(kind) and kind is not run.torch.Generator)
_users = ByClass(lambda kind: is_user_module(kind.__module__))


def looks_at(calls):
    """Whether everything is looked at in this call of a module; that costs what a step costs."""
    return calls == 3 or not calls & (calls - 1) or not calls % LOOK_EVERY


class Beside:
    """What is known of one root module."""

    __slots__ = ("moving", "seen")

    def __init__(self):
        self.moving = {}
        self.seen = ()

    def before(self, root, looks):
        """Note what may change in a call; `looks`: everything, not only what has been seen to change."""
        try:
            places = (
                [] if looks else [(*at, ref()) for at, ref in sorted(self.moving.items(), key=_at)]
            )
            if looks or any(holder is None for _, _, holder in places):
                # A meter that is made anew for each epoch is at the same place.
                self.moving = {at: ref for at, ref in self.moving.items() if ref() is not None}
                places = _places(root)
            self.seen = [(p, n, h, _mark(vars(h).get(n), 0)) for p, n, h in places]
        except Exception:
            # Another thread writes to it, for instance; at the snapshot it is compared all the same.
            self.seen = ()

    def changes(self):
        """Give what has changed since `before`, as `[(path, name, change), …]`."""
        seen, self.seen, found = self.seen, (), []
        try:
            for path, name, holder, old in seen:
                change = _change(old, vars(holder).get(name))
                if change is not None:
                    found.append((path, name, change))
                    self.moving[path, name] = weakref.ref(holder)
        except Exception:
            return []
        return found

    def put(self, root, path, name, change):
        """Do one change that a skipped call did; what cannot be done is found when all is compared."""
        at = self.moving.get((path, name))
        holder = at() if at is not None else None
        if holder is None:
            # By its path alone: a replay has not made what the first call has put there.
            holder = _holder(root, path)
            if holder is None:
                return
            self.moving[path, name] = weakref.ref(holder)
        now = vars(holder).get(name)
        value = _made(now, change)
        if value is now:
            return
        if isinstance(holder, type):
            type.__setattr__(holder, name, value)
        else:
            vars(holder)[name] = value


def _at(entry):
    return entry[0]


class _Reach(fetched.Reach):
    """What the code of modules names and holds, as far as it is the script's own."""

    def __init__(self):
        super().__init__()
        self.classes = {}
        self.held = []

    def is_place(self, value):
        """Whether the name of a global is a place of its own, and not only what its value holds."""
        return _is_place(value)

    def add_module(self, module, path):
        """Add the classes of a module, and what it holds."""
        kind = type(module)
        for number, cls in enumerate(kind.__mro__):
            self.add(cls, "%s.__class__%d" % (path, number))
        if _users[kind]:
            for name, item in list(vars(module).items()):
                if name not in _of_every_module():
                    self.add(item, "%s.%s" % (path, name), 1)
                    if type(item) in CONTAINERS or _streams[type(item)]:
                        self.held.append((path, name, module))

    def add_class(self, cls, path):
        """Add a class of the script's, and what its functions name."""
        if id(cls) in self._seen or not _users[cls]:
            return
        self._seen.add(id(cls))
        self.classes[path] = cls
        for item in list(vars(cls).values()):
            if isinstance(item, (staticmethod, classmethod)):
                item = item.__func__
            elif isinstance(item, property):
                item = item.fget
            if isinstance(item, types.FunctionType):
                self._add_function(item, path + "()", 1)

    def add(self, value, path, depth=0):
        """Add what a call may name or hold."""
        if isinstance(value, type):
            self.add_class(value, path)
        else:
            super().add(value, path, depth)

    def _add_instance(self, value, path, depth):
        kind = type(value)
        own = _users[kind] or is_namespace(kind)
        if own and len(self.instances) < HOLDERS_MOST:
            super()._add_instance(value, path, depth)


def _reach(root):
    reach = _Reach()
    for path, module in root.named_modules():
        reach.add_module(module, path)
    return reach


def _holder(root, path):
    """Give the module, class, instance or namespace that has this path; None for one that is gone."""
    if path.startswith(fetched.GLOBALS):
        return sys.modules.get(path[len(fetched.GLOBALS) :])
    named = dict(root.named_modules())
    if path in named:
        return named[path]
    reach = _reach(root)
    return reach.instances.get(path[:-1]) if path.endswith(".") else reach.classes.get(path)


def _places(root):
    """Give `(path, name, holder)` of all that may change."""
    reach = _reach(root)
    places = [(path, n, m) for (path, n), m in reach.globals.items() if n in vars(m)]
    places += reach.held
    for path, holder in reach.instances.items():
        places += [(path + ".", name, holder) for name in list(vars(holder))]
    for path, cls in reach.classes.items():
        names = [n for n, v in list(vars(cls).items()) if _is_place(v)]
        places += [(path, name, cls) for name in names if is_users_name(name)]
    return places


def _is_place(value):
    kind = type(value)
    return kind in PLAIN or kind in CONTAINERS or _streams[kind]


def _of_every_module():
    if not _own:
        _own.update(vars(run.torch.nn.Module()))
    return _own


_own = set()


def _mark(value, depth):
    """Give what tells whether something is still this value; of containers kind, length, copy, items, id."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind not in CONTAINERS:
        return rng.stream_state(value) if _streams[kind] else kinds.form(value, kind)
    if len(value) > ITEMS_MOST:
        return (kind, len(value), None, None, id(value))
    copied = plain.copy_of(value)
    if copied is not None or kind is set or depth >= NESTED_MOST:
        return (kind, len(value), copied, None, id(value))
    items = list(enumerate(value) if kind in LISTS else value.items())
    marks = {key: _mark(item, depth + 1) for key, item in items}
    return (kind, len(value), None, marks, id(value))


def _change(old, new):
    """Give in which way a value has changed, as plain values; None for not at all, or for one not told."""
    kind = type(new)
    if kind in PLAIN:
        return None if type(old) is kind and old == new else ("plain", new)
    if _streams[kind]:
        state = rng.stream_state(new)
        return None if state == old else ("stream", state)
    if kind not in CONTAINERS:
        form = kinds.form(new, kind)
        return None if form is None or (type(old) is tuple and old == form) else ("plain", form)
    is_same = type(old) is tuple and len(old) == 5 and old[0] is kind
    _, length, copied, items, number = old if is_same else (kind, 0, None, None, 0)
    if len(new) > ITEMS_MOST:
        return _growth(length, new, kind) if is_same else None
    whole = plain.copy_of(new)
    if whole is not None:
        if addresses.are_among(whole):
            return None
        if number != id(new):
            # The loop may have kept the one that was there before.
            return ("anew", plain.form(whole, new))
        same = copied is not None and plain.same(copied, whole)
        return None if same else ("whole", plain.form(whole, new))
    return _change_inside(items or {}, new, kind)


def _growth(length, new, kind):
    """Give the newest items; with the length before, for what hooks have added is there in a replay."""
    if kind is set or not 0 < len(new) - length <= ITEMS_MOST:
        return None
    newest = list(new.items() if kind in MAPPINGS else new)[length:]
    copied = plain.copy_of(newest)
    if copied is None or addresses.are_among(copied):
        return None
    return ("more", kind.__name__, length, tuple(copied))


def _change_inside(items, new, kind):
    """Give the changes of single items of a container that holds others; items that are gone are not told."""
    if kind is set or kind is deque:
        return None
    pairs = list(enumerate(new) if kind is list else new.items())
    keys = [key for key, _ in pairs]
    plain_keys = set(map(type, [*keys, *items])) <= PLAIN
    if not plain_keys or keys[: len(items)] != list(items) or addresses.are_among(keys):
        return None
    changes = [(key, _change(items.get(key, new), item)) for key, item in pairs]
    changes = tuple([change for change in changes if change[1] is not None])
    return ("inside", kind.__name__, changes) if changes else None


def _made(value, change):
    """Give what a value has become, in the same object where that can be."""
    kind, *content = change
    try:
        if kind == "plain":
            return plain.made(content[0])
        if kind == "stream":
            return _at_state(value, content[0])
        if kind == "anew":
            return _anew(value, content[0])
        if kind == "whole":
            return value if plain.refill(value, content[0]) else plain.made(content[0])
    except Diverged:
        return value
    if type(value).__name__ != content[0]:
        if kind == "more" or content[0] not in ("list", "dict"):
            return value
        value = [] if content[0] == "list" else {}
    if kind == "more":
        _grow(value, *content[1:])
    else:
        _change_items(value, content[1])
    return value


def _at_state(value, state):
    """Let a stream stand where a skipped call has left it."""
    if not _streams[type(value)]:
        return rng.make_stream(state)
    rng.set_stream_state(value, state)
    return value


def _anew(value, form):
    """Make another container of the same content; one of a kind that is not made anew stays the same."""
    if plain.can_make(form):
        return plain.made(form)
    plain.refill(value, form)
    return value


def _grow(value, length, items):
    items = plain.interned(items)
    if isinstance(value, list):
        value[length:] = items
    elif isinstance(value, deque):
        value.extend(items)
    else:
        value.update(items)


def _change_items(value, changes):
    for key, change in changes:
        if isinstance(value, list) and key == len(value):
            value.append(_made(None, change))
        elif isinstance(value, dict) or key < len(value):
            now = value.get(key) if isinstance(value, dict) else value[key]
            value[key] = _made(now, change)
