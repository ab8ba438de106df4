"""Ids that the script keeps: another process has others, so those of the dead run stand for the replay's."""

from vaultlayer_hooks.ghost.state import Diverged

# Below lies no memory of a process; a number above that nothing walked bears stays what it is.
LEAST = 1 << 32
_now = {}
_gone = set()


def is_one(value):
    """Whether a value may be the address of an object."""
    return type(value) is int and value >= LEAST


def are_among(content):
    """Whether addresses may be among the keys of a dict, or the items of other plain content."""
    return any(is_one(x) or (type(x) is tuple and are_among(x)) for x in content)


def named(walk):
    """Give `{id: path}` of everything whose id is among the values."""
    found = {}
    for entry in walk.values.values():
        _find(entry[0], walk, found)
    return found


def _find(value, walk, found):
    kind = type(value)
    if kind is int:
        if value >= LEAST:
            path = _path_of(value, walk)
            if path is not None:
                found[value] = path
    elif kind is list or kind is tuple:
        for x in value:
            if type(x) is int or type(x) is tuple:
                _find(x, walk, found)
    elif kind is dict:
        _find(list(value), walk, found)
        _find(list(value.values()), walk, found)


def _path_of(number, walk):
    entry = walk.tensors.get(number)
    return entry[1][0] if entry is not None else walk.places.get(number)


def translate_from(recorded, walk):
    """Let the ids of a recorded run stand for those of this one."""
    _now.clear()
    _gone.clear()
    if not recorded:
        return
    paths = {path: number for number, path in walk.places.items()}
    for number, (_, names) in walk.tensors.items():
        paths.update(dict.fromkeys(names, number))
    for number, path in recorded.items():
        if path in paths:
            _now[number] = paths[path]
        else:
            _gone.add(number)


def translated(value):
    """Give a plain value, or the form of one, with the ids of now.

    Raises:
        Diverged: an id in it is of something that the replay does not have.
    """
    if not _now and not _gone:
        return value
    kind = type(value)
    if kind is int:
        if value in _gone:
            raise Diverged("the id of a tensor or module that is gone in the replay")
        return _now.get(value, value)
    if kind is dict:
        return {translated(key): translated(x) for key, x in value.items()}
    if kind is list:
        return [translated(x) for x in value]
    if kind is not tuple:
        return value
    made = tuple([translated(x) for x in value])
    is_set = len(made) == 3 and made[0] == "whole" and made[1] in ("set", "frozenset")
    return (*made[:2], sorted(made[2], key=repr)) if is_set and type(made[2]) is list else made
