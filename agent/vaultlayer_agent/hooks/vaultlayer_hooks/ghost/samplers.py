"""What a loader's samplers hold: a refilled iterator must draw from what it drew from before."""

import sys

from vaultlayer_hooks.ghost import rng
from vaultlayer_hooks.ghost.state import Diverged, run

STATE_MOST_B = 1 << 20
LIST_MOST = 10_000
DEPTH_MOST = 4
PLAIN = frozenset((int, float, bool, str, bytes, type(None)))


def state(loader):
    """Give what the samplers hold in tensors, arrays and containers: what they draw next may depend on it."""
    held = []
    for part in _samplers(loader):
        for name, value in vars(part).items():
            packed = _packed(value) if type(value) not in PLAIN else None
            if packed is not None:
                held.append((name, packed))
    return tuple(held)


def _samplers(loader):
    found = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    return [part for part in found if hasattr(part, "__dict__")]


def _packed(value, depth=0):
    """Give what a value holds as plain values; None where it is too large, or of a kind that is not known."""
    kind = type(value)
    if kind in PLAIN:
        return ("plain", value)
    if isinstance(value, run.torch.Tensor) and value.device.type == "cpu":
        flat = value.detach().contiguous().reshape(-1).view(run.torch.uint8)
        return ("tensor", rng.to_bytes(flat)) if flat.numel() <= STATE_MOST_B else None
    if hasattr(value, "tobytes") and hasattr(value, "dtype") and not value.dtype.hasobject:
        if not hasattr(value, "__setitem__"):
            return ("number", (value.dtype.str, value.tobytes()))
        return ("array", value.tobytes()) if value.nbytes <= STATE_MOST_B else None
    if kind in (list, dict) and len(value) <= LIST_MOST and depth < DEPTH_MOST:
        items = tuple([_packed(x, depth + 1) for x in (value.values() if kind is dict else value)])
        if None not in items:
            return ("dict" if kind is dict else "list", items)
    return None


def put(loader, recorded):
    """Set what `state` gave, in place.

    Raises:
        Diverged: the samplers hold other things than they did.
    """
    wanted = iter(recorded)
    for part in _samplers(loader):
        for name, value in list(vars(part).items()):
            if type(value) not in PLAIN and _packed(value) is not None:
                known, packed = next(wanted, (None, None))
                if known != name:
                    raise Diverged("a sampler holds other things than it did")
                vars(part)[name] = _unpacked(value, packed)


def _unpacked(value, packed):
    """Give what a value was, in the same object where that can be."""
    kind, content = packed
    if kind == "plain":
        return content
    if kind == "number":
        return sys.modules["numpy"].frombuffer(content[1], dtype=content[0])[0]
    if kind in ("tensor", "array"):
        _fill(value, kind, content)
    elif kind == "dict":
        if len(value) != len(content):
            raise Diverged("a sampler's dict has another size")
        for (key, old), item in zip(list(value.items()), content):
            value[key] = _unpacked(old, item)
    else:
        old = [*value, *[None] * len(content)]
        value[:] = [_unpacked(x, item) for x, item in zip(old, content)]
    return value


def _fill(value, kind, content):
    size_b = (
        value.numel() * value.element_size() if kind == "tensor" else getattr(value, "nbytes", -1)
    )
    if len(content) != size_b:
        raise Diverged("what a sampler holds has another size")
    if not content:
        return
    if kind == "tensor":
        same = run.torch.frombuffer(bytearray(content), dtype=value.dtype)
        value.data.copy_(same.reshape(value.shape))
    else:
        value[...] = type(value)(value.shape, value.dtype, bytearray(content))
