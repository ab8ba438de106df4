"""Which tensors the iterators of loaders hold: they are filled anew, so no snapshot has them."""

import collections

from vaultlayer_hooks.ghost import loaders, owners, threads
from vaultlayer_hooks.ghost.frames import read_locals
from vaultlayer_hooks.ghost.live import HIDDEN
from vaultlayer_hooks.ghost.walk import LIBRARY, Walk

NOT_FILLED = ("_dataset", "_index_sampler", "_collate_fn")
THREADS = "torch/utils/data/_utils/"


def held_ids():
    """Give the ids of tensors and generators inside iterators, and in the threads that work for them.

    An array that a sampler holds may be the last to hold the tensor whose memory it shares.
    """
    ids = set()
    for opened in loaders.alive():
        walk = Walk()
        for part in loaders.parts(opened.loader):
            walk.seen[id(part)] = part
        for name, value in vars(opened.iterator()).items():
            if name not in NOT_FILLED:
                walk.root(name, value, LIBRARY)
                walk.root(name + ".queue", _waiting(value), LIBRARY)
        ids.update(walk.tensors)
        ids.update(owners.taken_from([array for array, _, _ in walk.arrays.values()]))
        ids.update(i for i, value in walk.seen.items() if isinstance(value, HIDDEN))
    ids.update(_in_threads())
    return ids


def _waiting(value):
    """Give what waits in a queue of the interpreter's: batches that have been pinned already."""
    inside = getattr(value, "queue", None)
    return list(inside) if isinstance(inside, collections.deque) else None


def _in_threads():
    walk = Walk()
    for ident, frames in threads.stacks():
        if any(THREADS in frame.f_code.co_filename for frame in frames):
            for depth, frame in enumerate(frames):
                walk.root("%d:%d" % (ident, depth), read_locals(frame), LIBRARY)
    return walk.tensors
