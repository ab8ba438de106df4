"""Plain values and containers of them: how a snapshot keeps them, and how they are made again."""

import collections
import marshal
import sys
import zlib

from vaultlayer_hooks.ghost import kinds
from vaultlayer_hooks.ghost.state import Diverged, run

PLAIN = frozenset((int, float, bool, str, bytes, type(None)))
CONTAINERS = (dict, list, tuple, collections.deque, set, frozenset)
WHOLE_MOST = 10_000
MADE = {kind.__name__: kind for kind in (dict, list, tuple, set, frozenset)}


def copy_of(value):
    """Give a copy of a container of plain values, or of tuples of them; None of any other.

    A large one is given as its length and checksum.
    """
    types = set(map(type, value))
    if isinstance(value, dict):
        copied = dict(value) if not types - PLAIN and _are_plain(value.values()) else None
    elif isinstance(value, (set, frozenset)):
        if not _are_plain(value):
            return None
        if len(value) > WHOLE_MOST:
            return ("large", len(value), 0)
        copied = sorted(value, key=repr)
    else:
        copied = list(value) if _are_plain(value) else None
    if copied is not None and len(copied) > WHOLE_MOST:
        return ("large", len(copied), zlib.crc32(marshal.dumps(copied, 2)))
    return copied


def _are_plain(values):
    """Whether values are plain, or tuples of plain ones."""
    types = set(map(type, values)) - PLAIN
    if types != {tuple}:
        return not types
    return not any(set(map(type, x)) - PLAIN for x in values if type(x) is tuple)


def form(value, container):
    """Give what a snapshot keeps of a value or of the copy of a container."""
    return value if container is None else ("whole", _name(type(container)), value)


def same(one, other):
    """Whether two forms are equal to the bit."""
    return marshal.dumps(one, 2) == marshal.dumps(other, 2)


def refill(container, kept):
    """Give a container the content that it had; False for one that cannot be filled or is of another kind.

    Raises:
        Diverged: the content was not kept.
    """
    if type(kept) is not tuple or container is None or kept[1] != _name(type(container)):
        return False
    content = _content(kept)
    if isinstance(container, (tuple, frozenset)):
        return False
    if isinstance(container, list):
        container[:] = content
        return True
    container.clear()
    (container.extend if isinstance(container, collections.deque) else container.update)(content)
    return True


def made(kept):
    """Make a value again from its form.

    Raises:
        Diverged: it is of a kind that cannot be made.
    """
    if type(kept) is not tuple:
        return _interned(kept)
    if kinds.is_form(kept):
        return kinds.made(kept)
    kind = run.torch.Size if kept[1] == "Size" else MADE.get(kept[1])
    if kind is None:
        raise Diverged("a %s that a skipped call has made" % kept[1])
    return kind(_content(kept))


def can_make(kept):
    """Whether `made` makes the container that a form is of."""
    return kept[1] in MADE


def _content(kept):
    content = kept[2]
    if type(content) is tuple:
        raise Diverged("a %s of %d values that a skipped call has changed" % (kept[1], content[1]))
    return interned(content)


def interned(content):
    """Give items with the strings that source code gives: pickle tells one object from equal ones."""
    if isinstance(content, dict):
        return {_interned(key): _interned(value) for key, value in content.items()}
    return [_interned(item) for item in content]


def _interned(value):
    if type(value) is tuple:
        return tuple([_interned(item) for item in value])
    return sys.intern(value) if type(value) is str else value


def _name(kind):
    builtin = MADE.get(kind.__name__) is kind or kind is run.torch.Size
    return kind.__name__ if builtin else "%s.%s" % (kind.__module__, kind.__qualname__)
