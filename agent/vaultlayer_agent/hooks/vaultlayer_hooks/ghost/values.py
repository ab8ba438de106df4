"""Values, arrays and random streams after a replay: compared, and set where skipped calls change them."""

import functools
import re
import sys

from vaultlayer_hooks.ghost import addresses, memory, plain, rng, temporary, torchscript
from vaultlayer_hooks.ghost.state import Diverged, run
from vaultlayer_hooks.ghost.walk import FETCHED, LIBRARY, SKIPPED, USER

LOCAL = re.compile(r"\d+:[^:]*:\w+")


def kept(walk):
    """Give the values that a replay must have or will be given; inside libraries nothing is promised."""
    own = [(path, entry) for path, entry in walk.values.items() if entry[1] != LIBRARY]
    return {path: plain.form(entry[0], entry[4]) for path, entry in own}


def restore(walk, recorded, elsewhere, same, late=None):
    """Compare all plain values; set those that skipped calls may have changed.

    Args:
        walk: of the replay.
        recorded: what `kept` gave.
        elsewhere: the paths of the tensors, arrays and streams that were recorded.
        same: finds what a value is a copy of, that the replay alone has apart.
        late: takes the differences that fetching again may mend; without it they are raised.

    Raises:
        Diverged: a value of the script's own is another one, or one cannot be set.
    """
    for path, value in recorded.items():
        entry = walk.values.get(path)
        if entry is not None:
            _restore_one(path, value, entry, late)
        elif not _is_loose(path) and not _put_on_optimizer(walk, path, value):
            _differ("a value is gone in the replay: %s = %.80r" % (path, value), late)
    only_here = walk.values.keys() - recorded.keys() - elsewhere
    for path in sorted(only_here):
        now, owner, _, _, container = walk.values[path]
        first = same.first(path)
        if first in recorded and plain.same(plain.form(now, container), recorded[first]):
            continue
        # What a skipped call makes at first use, and no snapshot keeps, would be made a second time.
        # How many things a container holds is nothing of its own: they would be told.
        if owner in (USER, SKIPPED) and not _is_loose(path) and not path.endswith("#"):
            raise Diverged("a value is only in the replay: %s = %.80r" % (path, now))


def _differ(reason, late):
    if late is None:
        raise Diverged(reason)
    late.append(reason)


def _restore_one(path, value, entry, late):
    now, owner, parent, key, container = entry
    value = addresses.translated(value)
    found = plain.form(now, container)
    if plain.same(found, value) or plain.same(found, temporary.translated(value)):
        return
    if owner == USER:
        raise Diverged("%s is %.80r in the replay, and was %.80r" % (path, found, value))
    if owner == FETCHED and parent is None and container is None:
        _differ("%s was changed by fetching, and lies where nothing can be put" % path, late)
    elif owner != LIBRARY and not plain.refill(container, value):
        put(path, plain.made(value), parent, key)


def _put_on_optimizer(walk, path, value):
    """Give an optimizer an attribute that a skipped step has made; False for all else."""
    owner, _, name = path.rpartition(".")
    found = [walk.seen[number] for number, place in walk.places.items() if place == owner]
    if not name.isidentifier() or not found or not isinstance(found[0], run.torch.optim.Optimizer):
        return False
    vars(found[0])[name] = plain.made(value)
    return True


def _is_loose(path):
    """Whether a value may be missing: inside libraries nothing is promised."""
    return path.startswith(("<", "hidden:"))


def put(path, value, parent, key):
    """Put a value into its place.

    Raises:
        Diverged: it lies in what cannot be changed.
    """
    if parent is None or isinstance(parent, (tuple, type)):
        raise Diverged("%s was changed by a skipped call, and lies where nothing can be put" % path)
    if isinstance(parent, (dict, list)) or hasattr(parent, "popleft"):
        parent[key] = value
    elif torchscript.is_scripted(parent):
        setattr(parent, key, value)
    else:
        object.__setattr__(parent, key, value)


def restore_arrays(walk, recorded):
    """Compare all arrays; set those that skipped calls may have changed.

    Raises:
        Diverged: an array of the script's own is another one, or one cannot be set.
    """
    by_path = {path: (value, owner) for value, path, owner in walk.arrays.values()}
    for path, dtype, shape, data, owner in recorded:
        if path not in by_path:
            making = functools.partial(_array, dtype, shape, data)
            if _make(walk, path, making) is None and owner in (USER, SKIPPED):
                raise Diverged("an array is gone in the replay: %s" % path)
            continue
        array, now = by_path[path]
        if array.dtype.str == dtype and array.shape == shape and array.tobytes() == data:
            continue
        if USER in (owner, now):
            raise Diverged("array %s is not what it was" % path)
        if owner != LIBRARY:
            _set_array(path, array, _array(dtype, shape, data))


def rejoin_arrays(walk, again):
    """Let an array that was reached by several names be one again: a replay has a copy where a call gave it.

    Args:
        walk: of the replay.
        again: `{path: path by which it was seen first}`.

    Raises:
        Diverged: it lies where nothing can be put.
    """
    by_path = {path: value for value, path, _ in walk.arrays.values()}
    for path, first in again.items():
        if path not in by_path or first not in by_path:
            continue
        kept, where = by_path[first], path
        if LOCAL.fullmatch(path):
            # No frame takes a variable: what it has becomes that of the other.
            _set_array(path, by_path[path], kept)
            kept, where = by_path[path], first
            if LOCAL.fullmatch(where):
                raise Diverged("%s and %s are no longer one array" % (first, path))
        by_path[first] = kept
        parent, key = walk.holders[where]
        # What a tuple of a dataset holds is only ever read.
        if parent is not None:
            put(where, kept, parent, key)


def _array(dtype, shape, data):
    return sys.modules["numpy"].frombuffer(data, dtype=dtype).reshape(shape).copy()


def _set_array(path, array, wanted):
    if array.shape == wanted.shape and array.dtype == wanted.dtype and array.flags.writeable:
        array[...] = wanted
    elif not memory.take_over(array, wanted):
        raise Diverged("array %s was changed by a skipped call, and cannot be set" % path)


def _make(walk, path, making):
    """Make what a skipped call has put where there was None; give it, or None where that is not so."""
    entry = walk.values.get(path)
    if entry is None or entry[0] is not None or entry[1] not in (SKIPPED, FETCHED):
        return None
    made = making()
    put(path, made, entry[2], entry[3])
    return made


def restore_streams(walk, recorded):
    """Private streams must be where they were; those of loaders are set when the loaders are filled.

    Raises:
        Diverged: one has been drawn from otherwise, or is gone.
    """
    by_path = {path: value for value, path, _ in walk.streams.values()}
    for path, state, owner in recorded:
        if path not in by_path:
            made = (
                _make(walk, path, functools.partial(rng.make_stream, state))
                if state is not None
                else None
            )
            if made is not None:
                walk.streams[id(made)] = (made, path, owner)
            elif owner != LIBRARY and not _is_loose(path):
                raise Diverged("a random stream is gone in the replay: %s" % path)
            continue
        torch_like = state is not None and state[0] == "torch"
        if owner == USER and not torch_like and rng.stream_state(by_path[path]) != state:
            raise Diverged("a random stream has been drawn from otherwise: %s" % path)


def finish_streams(walk, recorded):
    """Set the streams to where they were."""
    by_path = {path: value for value, path, _ in walk.streams.values()}
    for path, state, _ in recorded:
        if path in by_path and state is not None:
            rng.set_stream_state(by_path[path], state)
