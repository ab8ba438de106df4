"""Names of temporary files: another one in each process, so that of the dead run stands for the replay's."""

import functools
from _thread import get_ident

from vaultlayer_hooks.ghost.state import OFF, run

_made = []
_now = {}


def patch(module):
    """Note the names that are made, in their order."""
    cls = module._RandomNameSequence
    original = cls.__next__

    @functools.wraps(original)
    def __next__(self):
        name = original(self)
        if run.mode != OFF and not run.depth and get_ident() == run.main:
            _made.append(name)
        return name

    cls.__next__ = __next__


def names():
    """Give all names so far."""
    return tuple(_made)


def translate_from(recorded):
    """Let the names of a recorded run stand for those of this one, if there are as many."""
    _now.clear()
    if len(recorded) == len(_made):
        _now.update(zip(recorded, _made))


def translated(value):
    """Give a plain value with the names of now."""
    if not _now:
        return value
    if type(value) is str:
        for name, now in _now.items():
            value = value.replace(name, now)
        return value
    if type(value) in (list, tuple):
        return type(value)([translated(x) for x in value])
    if type(value) is dict:
        return {translated(key): translated(x) for key, x in value.items()}
    return value
