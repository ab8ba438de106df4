"""What a loader's samplers hold: a refilled iterator must draw from what it drew from before."""

from vaultlayer_hooks.ghost import rng
from vaultlayer_hooks.ghost.state import Diverged, run

STATE_MOST_B = 1 << 20
LIST_MOST = 10_000
PLAIN = frozenset((int, float, bool, str, bytes, type(None)))


def state(loader):
    """Give the tensors, arrays and lists that the samplers hold: what they draw next may depend on them."""
    held = []
    for part in _samplers(loader):
        for name, value in vars(part).items():
            packed = _packed(value)
            if packed is not None:
                held.append((name, packed))
    return tuple(held)


def _samplers(loader):
    found = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    return [part for part in found if hasattr(part, "__dict__")]


def _packed(value):
    if isinstance(value, run.torch.Tensor) and value.device.type == "cpu":
        flat = value.detach().contiguous().reshape(-1).view(run.torch.uint8)
        return ("tensor", rng.to_bytes(flat)) if flat.numel() <= STATE_MOST_B else None
    if hasattr(value, "tobytes") and hasattr(value, "dtype") and not value.dtype.hasobject:
        return ("array", value.tobytes()) if value.nbytes <= STATE_MOST_B else None
    if type(value) is list and len(value) <= LIST_MOST and set(map(type, value)) <= PLAIN:
        return ("list", tuple(value))
    return None


def put(loader, recorded):
    """Set what `state` gave, in place.

    Raises:
        Diverged: the samplers hold other things than they did.
    """
    wanted = iter(recorded)
    for part in _samplers(loader):
        for name, value in vars(part).items():
            if _packed(value) is not None:
                known, packed = next(wanted, (None, None))
                if known != name:
                    raise Diverged("a sampler holds other things than it did")
                _unpack_into(value, packed)


def _unpack_into(value, packed):
    if packed[0] == "tensor":
        if len(packed[1]) != value.numel() * value.element_size():
            raise Diverged("a sampler's tensor has another size")
        same = run.torch.frombuffer(bytearray(packed[1]), dtype=value.dtype) if packed[1] else None
        if same is not None:
            value.data.copy_(same.reshape(value.shape))
    elif packed[0] == "array":
        value[...] = type(value)(value.shape, value.dtype, bytearray(packed[1]))
    else:
        value[:] = packed[1]
