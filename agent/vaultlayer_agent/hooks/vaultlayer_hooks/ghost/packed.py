"""Tensors that an autograd graph holds as Python objects: what hooks have packed for its backward pass.

Recomputed activations (`torch.utils.checkpoint`) and hooks on saved tensors leave such behind in every graph
that is kept, of an auxiliary loss on its module for instance. They are as little part of the state as what
the graph saves without hooks: a backward pass through it voids the snapshot.
"""

import collections

from vaultlayer_hooks.ghost.state import run

NODES_MOST = 100_000


def counted(ends):
    """Count by id how many references graphs hold to tensors that hooks have packed.

    Args:
        ends: the last nodes of graphs. Those of old versions of torch do not tell, and nothing is counted.
    """
    found = collections.Counter()
    nodes = list(ends)
    seen = set(nodes)
    while nodes and len(seen) < NODES_MOST:
        node = nodes.pop()
        found.update(map(id, _packed(node)))
        following = {after for after, _ in node.next_functions if after is not None} - seen
        seen |= following
        nodes += following
    return found


def _packed(node):
    for name in dir(type(node)):
        if name.startswith("_raw_saved"):
            try:
                saved = getattr(node, name)
                several = saved if isinstance(saved, (tuple, list)) else (saved,)
                found = [getattr(one, "data", None) for one in several]
            except RuntimeError:
                continue  # given back already, after its backward pass
            yield from [data for data in found if isinstance(data, run.torch.Tensor)]
