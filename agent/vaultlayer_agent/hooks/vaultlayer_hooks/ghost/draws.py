"""Draws between the batches: samplers, and data that is a stream, may draw from random streams as they go on.

What they draw depends on what the script has drawn since the batch before. So where anything else has drawn
in between, the states from which they drew are noted, and a refilled iterator draws from them again. Samplers
of torch's own draw as their iterator begins only, from states that are noted there; rows of a dataset that
has indices are not read again. Workers have streams of their own.
"""

import functools
import zlib

from vaultlayer_hooks.ghost import log, rng
from vaultlayer_hooks.ghost.state import REPLAY, run

CALLS, STATES, LEFT, LAST = (
    "_vaultlayer_calls",
    "_vaultlayer_states",
    "_vaultlayer_left",
    "_vaultlayer_last",
)
ITEMS_MOST = 256
EAGER = (list, tuple, range)


class _Now:
    """The draws of the call that is being made; None where they are not recorded."""

    pending = None


def patch(module):
    """Note the states from which samplers draw, and single-process streams of data."""
    base, single = module._BaseDataLoaderIter, module._SingleProcessDataLoaderIter
    base._next_index = _watched(base._next_index, _is_drawn_lazily)
    single._next_data = _watched(single._next_data, is_stream)


def concern(iterator):
    """Whether an iterator draws between the batches."""
    return is_stream(iterator) or _is_drawn_lazily(iterator)


def is_stream(iterator):
    """Whether an iterator reads, in this process, data that has no indices."""
    kinds = run.torch.utils.data.dataloader._DatasetKind
    return iterator._dataset_kind == kinds.Iterable and not iterator._num_workers


def _is_drawn_lazily(iterator):
    return not is_stream(iterator) and not _is_eager(iterator._index_sampler)


def _is_eager(sampler):
    while type(sampler).__module__.startswith("torch.utils.data"):
        inner = getattr(sampler, "sampler", None)
        if inner is None:
            return True
        sampler = inner
    return isinstance(sampler, EAGER)


def _watched(original, concerns):
    @functools.wraps(original)
    def call(self):
        pending, replays = _Now.pending, run.mode == REPLAY
        if (pending is None and not replays) or not concerns(self):
            return original(self)
        names = vars(self)
        number = names.get(CALLS, 0)
        names[CALLS] = number + 1
        if replays and number in names.get(STATES, ()):
            _put(names[STATES][number])
        before = _states()
        try:
            result = original(self)
            if concerns is is_stream:
                names[LAST] = _sum(result, 0)
            return result
        finally:
            after = _states()
            if after != before:
                if not replays and before != names.get(LEFT):
                    pending.append((self, number, before))
                # Also in a replay: what follows is noted as the dead run has noted it.
                names[LEFT] = after

    return call


def _states():
    return (rng.to_bytes(run.torch.get_rng_state()), rng.small_state())


def _put(states):
    torch_state, small = states
    run.torch.set_rng_state(rng.from_bytes(torch_state))
    rng.set_small_state(small)


def begin():
    """Record the draws of a call."""
    _Now.pending = []


def end(iterator=None):
    """Note what `iterator` has drawn since `begin`; without one, nothing."""
    pending, _Now.pending = _Now.pending, None
    drawn = [draw for owner, *draw in pending or () if owner is iterator]
    if drawn:
        log.note("drawn", tuple(map(tuple, drawn)))


def take():
    """Give the draws that stand next in the log (replay), by their number."""
    return dict(log.take("drawn")) if log.peek() == "drawn" else {}


def remember(iterator, states):
    """Let an iterator that is to be refilled know draws of the recorded run."""
    if states:
        vars(iterator).setdefault(STATES, {}).update(states)


def last(iterator):
    """Give a checksum of the last batch that a stream of data has given: of both ends of each tensor."""
    return vars(iterator).get(LAST, 0)


def _sum(value, total):
    if isinstance(value, run.torch.Tensor):
        return _sum_tensor(value, total)
    if isinstance(value, (int, float, str, bytes)):
        return zlib.crc32(repr(value).encode(), total)
    if hasattr(value, "__array_interface__"):
        return _sum_array(value, total)
    if hasattr(value, "keys") and hasattr(value, "values"):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            total = _sum(item, total)
    return total


def _sum_array(array, total):
    """Sum up both ends of an array or a number of NumPy."""
    if array.dtype.hasobject:
        return total
    for at, part in ((0, slice(ITEMS_MOST)), (-1, slice(-ITEMS_MOST, None))):
        row = array
        while getattr(row, "ndim", 0) > 1 and len(row):
            row = row[at]
        total = zlib.crc32((row[part] if getattr(row, "ndim", 0) else row).tobytes(), total)
    return total


def _sum_tensor(tensor, total):
    """Sum up both ends: a whole batch would cost what a step costs."""
    try:
        if tensor.device.type != "cpu":
            return total
        for at, part in ((0, slice(ITEMS_MOST)), (-1, slice(-ITEMS_MOST, None))):
            row = tensor.detach()
            while row.dim() > 1 and row.shape[0]:
                row = row[at]
            data = row.reshape(-1)[part].contiguous().view(run.torch.uint8)
            total = zlib.crc32(rng.to_bytes(data), total)
    except (RuntimeError, TypeError):
        pass  # of a kind that has no plain memory
    return total
