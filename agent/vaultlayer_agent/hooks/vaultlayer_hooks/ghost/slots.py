"""A class that gets `__getitem__` in Python counts as a sequence in C, which a tensor must not.

`torch.tensor([x])` takes the length of each item that is one, and a tensor of no dimensions has none.
"""

import ctypes

_WORD_B = ctypes.sizeof(ctypes.c_void_p)
# The layout of `PyTypeObject` and `PySequenceMethods`, in words, unchanged from Python 3.9 to 3.14.
_SIZE_AT, _SEQUENCE_AT = 1, 10
_ITEMS_AT = {"__getitem__": 3, "__setitem__": 5}


class _Sequence:
    def __getitem__(self, index):
        return index

    def __setitem__(self, index, value):
        pass


class _Mapping:
    pass


def only_subscripts(base):
    """Let a class, and those made of it, be no sequences for C; what subscripts give stays as it is."""

    def __init_subclass__(cls, **kwargs):
        super(base, cls).__init_subclass__(**kwargs)
        _clear(cls, base)

    base.__init_subclass__ = classmethod(__init_subclass__)
    for cls in _family(base):
        _clear(cls, base)


def _family(cls):
    yield cls
    for one in type.__subclasses__(cls):
        yield from _family(one)


def _clear(cls, base):
    """Clear what subscripts in Python have filled, unless the class says itself what they give."""
    for name, at in _ITEMS_AT.items():
        generic, other, slot = (_slot(one, at) for one in (_Sequence, _Mapping, cls))
        known = None not in (generic, other, slot) and generic.value and not other.value
        if known and slot.value == generic.value and getattr(cls, name) is getattr(base, name):
            slot.value = None


def _slot(cls, at):
    """Give the place of a class's function for items; None where the layout is not the known one."""
    start = id(cls) + object.__basicsize__ + _WORD_B
    if ctypes.c_ssize_t.from_address(start + _SIZE_AT * _WORD_B).value != cls.__basicsize__:
        return None
    methods = ctypes.c_void_p.from_address(start + _SEQUENCE_AT * _WORD_B).value
    return ctypes.c_void_p.from_address(methods + at * _WORD_B) if methods else None
