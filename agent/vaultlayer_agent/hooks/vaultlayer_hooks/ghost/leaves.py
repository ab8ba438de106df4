"""Tensors that get a gradient though no optimizer and no module owns them: raw weights, inputs, activations.

A replay skips the backward pass, so it has to find them. The stand-ins that skipped calls give carry what
was handed to the call, so the graph of the script's own operations goes on beyond them.
"""

import weakref
from functools import wraps

from vaultlayer_hooks.ghost import boundary
from vaultlayer_hooks.ghost.state import REPLAY, run

NODES_MOST = 10_000
NOTED_MOST = 64
DEPTH_MOST = 2
FED_BY = "vaultlayer"
_noted = []
_retained = []


def patch(torch):
    """Note which activations are to keep their gradient."""
    torch.Tensor.retain_grad = _retaining(torch.Tensor.retain_grad)


def _retaining(original):
    @wraps(original)
    def retain_grad(self):
        original(self)
        if run.mode == REPLAY and run.is_ours() and self.grad_fn is not None:
            _retained.append(weakref.ref(self))

    return retain_grad


def note(values):
    """Note the inputs of a root call that will get a gradient."""
    tensor = run.torch.Tensor
    for x in values:
        if isinstance(x, tensor) and x.requires_grad and x.is_leaf and len(_noted) < NOTED_MOST:
            _noted.append(x)


def mask():
    """Tell of each input that was noted, and is forgotten now, whether it has a gradient."""
    return bytes([x.grad is not None for x in _take()]) if _noted else b""


def _take():
    taken = list(_noted)
    _noted.clear()
    return taken


def link(result, args, kwargs):
    """Let the stand-ins in a result tell what was handed to the call that gave it."""
    made = [t.grad_fn for t in _tensors(result) if t.grad_fn is not None]
    if not made:
        return
    given = [t for t in _tensors([args, kwargs]) if t.requires_grad]
    # The node instead of the tensor: values are not needed, and may be large. And a leaf that nobody else
    # holds would be found as one that no name leads to.
    feeding = [weakref.ref(t) if t.grad_fn is None else t.grad_fn for t in given]
    for node in made:
        node.metadata[FED_BY] = feeding


def _tensors(value, depth=0):
    if isinstance(value, run.torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)) and depth <= DEPTH_MOST:
        for x in value.values() if isinstance(value, dict) else value:
            yield from _tensors(x, depth + 1)


def give_gradients(tensors, inputs, only):
    """Give gradients to those that a skipped backward pass would have given one.

    Args:
        tensors: what the pass starts from.
        inputs: the recorded answer of `mask`.
        only: the tensors that the script has asked gradients of, None for all.
    """
    noted = _take() if _noted else []
    for has, leaf in zip(inputs, noted):
        if has:
            _give(leaf)
    nodes, found = _graph(tensors)
    told = {id(p) for p in boundary.parameters().values()}
    told.update([id(x) for x in noted])
    asked = None if only is None else {id(x) for x in _tensors(only)}
    for leaf in found:
        if id(leaf) not in told and (asked is None or id(leaf) in asked):
            _give(leaf)
    _give_retained(nodes)


def _graph(tensors):
    """Give the nodes and the leaves of a graph, beyond stand-ins too."""
    tensor = run.torch.Tensor
    nodes, leaves = set(), []
    stack = [x for t in _tensors(tensors) for x in (t, t.grad_fn) if x is not None]
    while stack and len(nodes) < NODES_MOST:
        node = stack.pop()
        if isinstance(node, tensor):
            leaves.append(node)
            continue
        if node in nodes:
            continue
        nodes.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        fed = getattr(node, "metadata", {}).get(FED_BY)
        if fed is None:
            fed = [following for following, _ in node.next_functions]
        held = [x() if isinstance(x, weakref.ref) else x for x in fed]
        stack.extend([x for x in held if x is not None])
    return nodes, [x for x in leaves if x.is_leaf and x.requires_grad]


def _give_retained(nodes):
    for ref in _retained:
        tensor = ref()
        if tensor is not None and tensor.grad_fn in nodes:
            _give(tensor)
    _retained[:] = [ref for ref in _retained if ref() is not None]


def _give(tensor):
    if tensor.grad is None:
        tensor.grad = run.torch.zeros_like(tensor, requires_grad=False)


def forget():
    """Let go of all that was noted."""
    _noted.clear()
    _retained.clear()


def held_ids():
    """Give the ids of inputs that only we still hold."""
    return [id(x) for x in _noted]
