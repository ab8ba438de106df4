"""Which tensors the iterators of loaders hold: they are filled anew, so no snapshot has them."""

from vaultlayer_hooks.ghost import loaders
from vaultlayer_hooks.ghost.walk import LIBRARY, Walk

NOT_FILLED = ("_dataset", "_index_sampler", "_collate_fn")


def held_ids():
    """Give the ids of tensors that live inside iterators."""
    ids = set()
    for opened in loaders.alive():
        walk = Walk()
        for part in loaders.parts(opened.loader):
            walk.seen[id(part)] = part
        for name, value in vars(opened.iterator()).items():
            if name not in NOT_FILLED:
                walk.root(name, value, LIBRARY)
        ids.update(walk.tensors)
    return ids
