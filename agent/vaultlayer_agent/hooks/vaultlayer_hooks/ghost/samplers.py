"""What samplers hold, and data that is a stream: a refilled iterator must draw from what it drew from before.

What is larger than a megabyte is written down once, by its hash. What cannot be written down is left to the
comparison of what a refilled iterator has drawn with what was drawn before.
"""

import functools
import hashlib
import marshal
import sys
import zlib

from vaultlayer_hooks.ghost import fetched, log, rng
from vaultlayer_hooks.ghost.state import Diverged, run

STATE_MOST_B = 1 << 20
LARGE_MOST_B = 256 << 20
LIST_MOST = 10_000
SMALL_MOST_B = 1 << 16
DEPTH_MOST = 4
PLAIN = frozenset((int, float, bool, str, bytes, type(None)))
DRAWN = "_vaultlayer_drawn"
_large = {}
_noted = {"size_b": 0}


def patch(base):
    """Let the iterators of loaders sum up what their samplers have given."""
    original = base._next_index

    @functools.wraps(original)
    def _next_index(self):
        index = original(self)
        names = self.__dict__
        try:
            names[DRAWN] = zlib.crc32(marshal.dumps(index, 2), names.get(DRAWN, 0))
        except ValueError:
            pass  # of a kind that marshal does not know
        return index

    base._next_index = _next_index


def drawn(iterator):
    """Give the checksum of all indices that an iterator has been given."""
    return vars(iterator).get(DRAWN, 0)


def _whole(data):
    return data


def state(loader, keep=_whole):
    """Give what the samplers hold in tensors, arrays and containers: what they draw next may depend on it.

    Beside it, for a stream of data that this process reads, what is small in all that it reads through.

    Args:
        loader: whose they are.
        keep: gives what stands for the bytes of large ones, or None to leave them out.
    """

    def of_sampler(value):
        return _packed(value, keep) if type(value) not in PLAIN else None

    return (_held(_samplers(loader), of_sampler), _held(_of_stream(loader), _packed_small))


def _held(parts, pack):
    held = []
    for number, part in enumerate(parts):
        packed = [(name, pack(value)) for name, value in vars(part).items()]
        held += [(number, name, content) for name, content in packed if content is not None]
    return tuple(held)


def noted(data):
    """Write large bytes into the log, once; give what stands for them, or None where it is too much."""
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if digest not in _large:
        if _noted["size_b"] + len(data) > LARGE_MOST_B:
            return None
        _noted["size_b"] += len(data)
        _large[digest] = None
        log.note("held", (digest, data))
    return digest


def take_new():
    """Read the large bytes that stand next in the log (replay)."""
    while log.peek() == "held":
        digest, data = log.take("held")
        _noted["size_b"] += len(data)
        _large[digest] = data


def forget():
    """Let go of large bytes: from the snapshot on only their hashes are needed."""
    _large.update(dict.fromkeys(_large))


def _samplers(loader):
    found = [getattr(loader, name, None) for name in ("sampler", "batch_sampler")]
    return [part for part in found if hasattr(part, "__dict__")]


def _of_stream(loader):
    """Give all that a stream of data is read through, where it is read in this process."""
    stream = run.torch.utils.data.IterableDataset
    if loader.num_workers or not isinstance(loader.dataset, stream):
        return []
    return list(fetched.holders(loader, fetched.OTHERS).values())


def _packed_small(value):
    """Give what a stream counts or sums up in; None for what is no small value, such as the data."""
    if isinstance(value, run.torch.Tensor):
        size_b = value.numel() * value.element_size()
        return _packed(value, _whole) if size_b <= SMALL_MOST_B else None
    made = fetched.whole(value)
    return None if made is None else ("made", made)


def _packed(value, keep, depth=0):
    """Give what a value holds as plain values; None where it is too large, or of a kind that is not known."""
    kind = type(value)
    if kind in PLAIN:
        return ("plain", value)
    if isinstance(value, run.torch.Tensor) and value.device.type == "cpu":
        flat = value.detach().contiguous().reshape(-1).view(run.torch.uint8)
        return _with(("tensor",), rng.to_bytes(flat), keep)
    if hasattr(value, "tobytes") and hasattr(value, "dtype") and not value.dtype.hasobject:
        if not hasattr(value, "__setitem__"):
            return ("number", (value.dtype.str, value.tobytes()))
        return _with(("array",), value.tobytes(), keep)
    if kind in (list, dict) and len(value) <= LIST_MOST and depth < DEPTH_MOST:
        inside = value.values() if kind is dict else value
        items = tuple([_packed(x, keep, depth + 1) for x in inside])
        if None not in items:
            return ("dict" if kind is dict else "list", items)
    return None


def _with(kind, data, keep):
    content = data if len(data) <= STATE_MOST_B else keep(data)
    return None if content is None else (*kind, content)


def put(loader, recorded):
    """Set what `state` gave, in place.

    Raises:
        Diverged: the samplers hold other things than they did.
    """
    for parts, held in zip((_samplers(loader), _of_stream(loader)), recorded):
        for number, name, packed in held:
            names = vars(parts[number]) if number < len(parts) else {}
            if name not in names:
                raise Diverged("a sampler holds other things than it did")
            names[name] = _unpacked(names[name], packed)


def _unpacked(value, packed):
    """Give what a value was, in the same object where that can be."""
    kind, content = packed
    if kind == "plain":
        return content
    if kind == "made":
        return fetched.made(value, content)
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
    if type(content) is str:
        content = _large.get(content)
        if content is None:
            raise Diverged("what a sampler held was not kept")
    if len(content) != size_b:
        raise Diverged("what a sampler holds has another size")
    if not content:
        return
    if kind == "tensor":
        same = run.torch.frombuffer(bytearray(content), dtype=value.dtype)
        value.data.copy_(same.reshape(value.shape))
    else:
        value[...] = type(value)(value.shape, value.dtype, bytearray(content))
