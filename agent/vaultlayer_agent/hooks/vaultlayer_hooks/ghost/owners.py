"""Whether Python holds a tensor where no object shows it: on the stack of a running expression, or in C code.

What is left of an object's reference count when every other holder is taken away. While an autograd graph
holds a tensor too, the graph's share in its Python object is one reference: since torch 2.10 whenever the
tensor has a second holder in C++, before that only once Python has let go of it (a flag behind the object's
head). Which of the two holds is tried once on tensors of our own.
"""

import collections
import ctypes
import sys
import weakref

from vaultlayer_hooks.ghost import packed, stacks
from vaultlayer_hooks.ghost.state import run

_chosen = []


def held_unseen(tensors, arrays, nodes):
    """Give those of a list of tensors to which some reference is not accounted for.

    Args:
        tensors: a list; to none of them may an object or a frame that is known refer, save this list.
        arrays: NumPy's, of which the collector knows nothing; each holds what its memory was taken from.
        nodes: the last ones of graphs that may hold some of them.
    """
    if sys.version_info < (3, 11):
        # There the stack keeps what a call was given, so counts tell nothing, but the stack can be read.
        return stacks.waiting(tensors)
    share = _graphs_share()
    if share is None or not tensors:
        return []
    taken = taken_from(arrays)
    left = _left(tensors, share)
    if all(count <= taken[id(t)] for t, count in zip(tensors, left)):
        return []
    taken += packed.counted(nodes)
    return [t for t, count in zip(tensors, left) if count > taken[id(t)]]


def taken_from(arrays):
    """Count by id what arrays were made from; views of one array hold that array."""
    makers = {}
    for value in arrays:
        base = value.base
        while hasattr(base, "__array_interface__"):
            value, base = base, base.base
        makers[id(value)] = id(base)
    return collections.Counter(makers.values())


def _left(tensors, share):
    plain = _counts([object()])[0]
    return [n - plain - share(t) for n, t in zip(_counts(tensors), tensors)]


def _counts(values):
    return [sys.getrefcount(value) for value in values]


def _graphs_share():
    """Give the function that tells how many references to a tensor's object its graph has, or None."""
    if not _chosen:
        ways = (_while_shared, _once_dropped)
        _chosen.append(next((way for way in ways if _is_right(way)), None))
    return _chosen[0]


def _while_shared(tensor):
    return int(tensor._use_count() > 1)


def _once_dropped(tensor):
    return int(ctypes.c_bool.from_address(id(tensor) + object.__basicsize__).value)


def _is_right(way):
    """Whether a way counts right a tensor that a graph, Python, or both of them hold."""
    torch = run.torch
    try:
        with torch.enable_grad():
            leaf = torch.ones(2, requires_grad=True)
            dropped, kept, bare = leaf.exp(), leaf.exp(), torch.ones(2)
            graphs = [dropped * dropped, kept * kept]
        again = weakref.ref(dropped)
        del dropped
        cases = [again(), kept, bare]
        # Of the last two, a name above holds one.
        is_right = None not in cases and _left(cases, way) == [0, 1, 1]
        # Before their graphs: torch up to 2.9 prints a warning of objects that outlive their tensors.
        del cases
        del graphs
    except Exception:
        return False
    return is_right
