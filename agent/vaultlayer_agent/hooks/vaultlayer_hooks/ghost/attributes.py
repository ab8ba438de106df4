"""What a skipped call changes in modules: a counter in `forward`, an attention map, a parameter replaced.

A replay does not execute the call, so plain values go into the log where they have changed, and tensors as
their specs. What changes at all is learnt by looking at all of them in the first calls, and now
and then later; a replay learns the same from the log.
"""

import weakref

from vaultlayer_hooks.ghost import kinds, plain, specs
from vaultlayer_hooks.ghost.beside import Beside, looks_at
from vaultlayer_hooks.ghost.known import Known
from vaultlayer_hooks.ghost.state import run

PLAIN = frozenset((bool, int, float, str, type(None)))
CONTAINERS = frozenset((list, tuple, dict))
ITEMS_MOST = 64
LOOKS = 3
LOOK_EVERY = 64
LOOK_RARELY = 1024
ATTRIBUTE, BUFFER, PARAMETER, MODULE = "", "_buffers", "_parameters", "_modules"
# A buffer that is not part of the module's state.
PASSING = "passing"
BESIDE = "beside"


class _Watched:
    """What is known of one root module."""

    __slots__ = ("beside", "calls", "modules", "moving", "places")

    def __init__(self):
        self.beside = Beside()
        self.calls = 0
        self.moving = {}
        self.places = []
        self.modules = ()

    def begin(self):
        """Count a call; give whether it is one at which everything is looked at."""
        self.calls += 1
        often = LOOK_EVERY if self.calls < LOOK_RARELY else LOOK_RARELY
        return self.calls <= LOOKS or not self.calls % often


_watched = Known(_Watched)


def before(root):
    """Look at what a call of a root module may change; give what `changes` needs, or None."""
    watched = _watched.of(root)
    looks = watched.begin()
    wide = looks and looks_at(watched.calls)
    if wide or watched.beside.moving:
        watched.beside.before(root, wide)
    elif watched.beside.seen:
        # Of a call that has raised.
        watched.beside.seen = ()
    if looks:
        named = list(root.named_modules())
        watched.places = [(p, m, *at) for p, m in named for at in _names(m) if _is_kept(m, *at)]
        watched.modules = [(p, m, frozenset(_names(m))) for p, m in named]
    elif not watched.moving:
        return () if watched.beside.moving else None
    else:
        # By path, and each time: modules are replaced while a model grows.
        watched.places = [(at[0], _at(root, at[0]), *at[1:]) for at in watched.moving]
    return [_mark(_now(module, where, name)) for _, module, where, name in watched.places]


def _at(root, path):
    """Give the module at a path, or None."""
    module = root
    for part in path.split(".") if path else ():
        module = _space(module, MODULE).get(part)
    return module


def _names(module):
    """Give `(where, name)` of all that a module holds."""
    return [
        (where, name) for where in (ATTRIBUTE, BUFFER, PARAMETER) for name in _space(module, where)
    ]


def _space(module, where):
    names = getattr(module, "__dict__", {})
    found = names.get(where) if where else names
    # Modules of TorchScript keep theirs elsewhere.
    return found if isinstance(found, dict) else {}


def _now(module, where, name):
    return _space(module, where).get(name)


def _is_kept(module, where, name):
    value = _now(module, where, name)
    kind = type(value)
    known = kind in PLAIN or kind in CONTAINERS or _is_described(kind)
    return known or _form(value, kind) is not None


def _is_described(kind):
    """Whether a spec tells of it: a tensor, or a distribution that has some."""
    is_tensor = kind is run.torch.Tensor or kind is run.torch.nn.Parameter
    return is_tensor or specs.is_distribution(kind)


def _form(value, kind):
    """Give the form of a number, a member of an enumeration or the like, or of a function; None of others."""
    if kind not in kinds.NAMED:
        return kinds.form(value, kind)
    name = kinds.named(value)
    return name if "<" not in name[2] else None


def _mark(value):
    """Give what tells whether something is still this value, without keeping it alive."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if _is_described(kind):
        return weakref.ref(value)
    return _form(value, kind) or ("id", id(value))


def changes(root, seen):
    """Give what has changed in the call, as `((path, where, name, value, spec), …)`, and None for nothing."""
    watched = _watched.of(root)
    found = []
    for (path, module, where, name), old in zip(watched.places, seen):
        value = _now(module, where, name)
        if _has_changed(old, value, (path, where, name) in watched.moving):
            found.append((path, where, name, value))
    if watched.modules:
        for path, m, names in watched.modules:
            found += [(path, *at, _now(m, *at)) for at in _names(m) if at not in names]
        watched.moving.update(dict.fromkeys(change[:3] for change in found))
        watched.modules = ()
    watched.places = []
    described = [_described(change) for change in found] if found else ()
    changed = [_passing(root, change) for change in described if change is not None]
    if watched.beside.seen:
        changed += [(p, BESIDE, n, change, None) for p, n, change in watched.beside.changes()]
    return tuple(changed) or None


def _passing(root, change):
    path, where, name, *rest = change
    passing = where == BUFFER and name in _at(root, path)._non_persistent_buffers_set
    return (path, PASSING if passing else where, name, *rest)


def _has_changed(old, new, is_moving):
    kind = type(new)
    if kind in PLAIN:
        return new is not old and (kind is not type(old) or new != old)
    if _is_described(kind):
        return type(old) is not weakref.ref or old() is not new
    form = _form(new, kind) if kind not in CONTAINERS else None
    return old != form if form is not None else is_moving or old != ("id", id(new))


def _described(change):
    path, where, name, value = change
    kind = type(value)
    if kind in PLAIN:
        return (path, where, name, value, None)
    if _is_described(kind):
        kept = None
    elif kind in CONTAINERS and len(value) <= ITEMS_MOST:
        copied = plain.copy_of(value)
        kept = plain.form(copied, value) if copied is not None else None
    else:
        kept = _form(value, kind)
        if kept is None:
            return None
    which = specs.number_of(value) if kept is None else None
    return None if kept is None and which is None else (path, where, name, kept, which)


def put(root, recorded):
    """Do what a skipped call did: set what it had changed."""
    watched = _watched.of(root)
    looked = watched.begin()
    for path, where, name, value, which in recorded:
        if where == BESIDE:
            watched.beside.put(root, path, name, value)
            continue
        module = _at(root, path)
        if module is None:
            run.diverge("a module is gone in the replay: %s" % path)
        made = plain.made(value) if which is None else specs.ghost_of(which)
        if where == PARAMETER and which is not None:
            made = run.torch.nn.Parameter(made.detach(), made.requires_grad)
        if where == PASSING:
            module._non_persistent_buffers_set.add(name)
            where = BUFFER
        _space(module, where)[name] = made
        if looked:
            watched.moving[path, where, name] = None
