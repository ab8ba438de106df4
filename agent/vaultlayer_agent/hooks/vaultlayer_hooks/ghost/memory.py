"""Memory that tensors share with arrays and buffers: seen at a snapshot, and shared again after a replay.

A replay gives copies where the script was given views (`tensor.numpy()`), so without this a later write
through one would not be seen through the other, and the job would end well with other weights. A cluster is a
set of tensor storages, arrays and buffers that overlap; its members must lie in the same way again. An array
that does not is moved: it changes bodies with a view that lies right. Where only arrays hold the memory of a
tensor, as when `.numpy()` was called twice, memory is made for them anew. Anything else ends the attempt.
"""

import ctypes
import functools
import sys

from vaultlayer_hooks.ghost.state import Diverged, run
from vaultlayer_hooks.ghost.walk import USER

# data, number of dimensions, dimensions, strides, base, type and flags of an array object.
BODY_B = 6 * 8 + 4
# Of the last kind is memory that was a tensor's, and that only arrays still hold.
STORAGE, VALUE, LEFT = "storage", "value", "left"
_left = []


class Shared(Exception):
    """Memory is shared in a way that cannot be brought about again, for the reason given."""


def patch(torch):
    """Give up where a tensor is handed out by DLPack: no walk finds who writes to it then."""
    owners = ((torch.Tensor, "__dlpack__"), (sys.modules.get("torch.utils.dlpack"), "to_dlpack"))
    for owner, name in owners:
        original = getattr(owner, name, None)
        if original is not None:
            setattr(owner, name, _given(original))


def _given(original):
    @functools.wraps(original)
    def giving(*args, **kwargs):
        if run.is_ours():
            run.give_up("a tensor was handed to another library by DLPack")
        return original(*args, **kwargs)

    return giving


def span(value):
    """Give address and size in bytes of the memory of an array, buffer or storage; None without any."""
    if hasattr(value, "__array_interface__"):
        return _array_span(value)
    if hasattr(value, "data_ptr"):
        on_host = str(value.device) == "cpu"
        return (value.data_ptr(), value.nbytes()) if on_host and value.nbytes() else None
    try:
        held = (ctypes.c_char * memoryview(value).nbytes).from_buffer(value)
        return (ctypes.addressof(held), len(held)) if len(held) else None
    except (TypeError, ValueError, BufferError):
        return None  # read-only or with holes: nothing is written through it


def _array_span(value):
    low = high = value.__array_interface__["data"][0]
    for count, stride in zip(value.shape, value.strides):
        if not count:
            return None
        low += min(0, (count - 1) * stride)
        high += max(0, (count - 1) * stride)
    return low, high + value.itemsize - low


class _Member:
    """One thing that has memory."""

    __slots__ = ("at", "kind", "name", "owner", "size_b", "value")

    def __init__(self, kind, name, value, owner):
        self.kind = kind
        self.name = name
        self.value = value
        self.owner = owner
        self.at, self.size_b = span(value) or (0, 0)

    def described(self, low):
        """Give how it lies in its cluster, which begins at `low`, as plain values."""
        lie = _lie(self.value, low) if self.kind == VALUE else ()
        return (self.kind, self.name, self.at - low, self.size_b, lie)


def _lie(value, low):
    """Give offset in bytes and strides of an array's first element; nothing of what is no array."""
    if not hasattr(value, "__array_interface__"):
        return ()
    return (value.__array_interface__["data"][0] - low, tuple(value.strides))


def clusters(walk, storages):
    """Find what overlaps.

    Args:
        walk: complete.
        storages: `{number: storage}` of every saved or hashed storage.

    Returns:
        tuple of clusters, each a tuple of `(kind, name, offset, size, lie)`, in bytes.

    Raises:
        Shared: what cannot be moved lies in the memory of a tensor that nothing else holds.
    """
    members = [_Member(STORAGE, number, s, USER) for number, s in storages.items()]
    for value, path, owner in (*walk.arrays.values(), *walk.buffers.values()):
        members.append(_Member(VALUE, path, value, owner))
    members = sorted([m for m in members if m.size_b], key=lambda m: (m.at, -m.size_b))
    found, end = [], 0
    for member in members:
        if member.at >= end:
            found.append([])
        found[-1].append(member)
        end = max(end, member.at + member.size_b)
    return tuple([_described(group) for group in found if _matters(group)])


def _matters(group):
    """Whether it can make a difference; arrays that only libraries hold are promised nothing."""
    return len(group) > 1 and any(member.owner == USER for member in group)


def _described(group):
    low = group[0].at
    described = tuple([member.described(low) for member in group])
    if all(member.kind == VALUE for member in group):
        made = {id(array) for array, base in map(_made_by, group) if _is_tensor(base)}
        if len(made) > 1:
            if not all(_can_move(member.value) for member in group):
                names = (group[0].name, group[1].name)
                text = "%s and %s share the memory of a tensor that nothing else holds"
                raise Shared(text % names)
            size_b = max(member.at + member.size_b for member in group) - low
            return ((LEFT, "", 0, size_b, ()), *described)
    return described


def _made_by(member):
    """Give the first of the arrays that are views of each other, and what its memory was taken from."""
    value = member.value
    base = getattr(value, "base", None)
    while hasattr(base, "__array_interface__"):
        value, base = base, base.base
    return value, base


def _is_tensor(value):
    return isinstance(value, run.torch.Tensor)


def _can_move(value):
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray


def rejoin(recorded, storages, walk, arrays):
    """Let everything that shared memory share it again.

    Args:
        recorded: what `clusters` gave.
        storages: `{number: storage}`, restored.
        walk: of the replay.
        arrays: `{path: bytes}` of what each array held.

    Raises:
        Diverged: it cannot.
    """
    values = {path: value for value, path, _ in (*walk.arrays.values(), *walk.buffers.values())}
    for cluster in recorded:
        if cluster[0][0] == LEFT:
            _put_into_one(cluster, values, arrays)
            continue
        low = _begin_of(cluster, storages, values)
        for kind, name, offset, size_b, lie in cluster:
            value = values.get(name) if kind == VALUE else None
            # What is missing is told, or forgiven, where values are compared.
            if value is None:
                continue
            if span(value) != (low + offset, size_b) or _lie(value, low) != lie:
                _move(name, value, low, lie, _around(cluster, offset, size_b, storages))


def _put_into_one(cluster, values, arrays):
    """Make memory for arrays that lay in a tensor's, with what was in it."""
    (_, _, _, size_b, _), *members = cluster
    storage = run.torch.zeros(size_b, dtype=run.torch.uint8).untyped_storage()
    for _, name, _, _, lie in members:
        value = values.get(name)
        if value is not None:
            _move(name, value, storage.data_ptr(), lie, storage)
            _fill(name, value, arrays[name])


def _fill(name, array, data):
    """Let an array hold what it held, also one that the script may not write to."""
    if array.nbytes != len(data):
        raise Diverged("array %s has another size" % name)
    is_writable = array.flags.writeable
    array.flags.writeable = True
    array[...] = sys.modules["numpy"].frombuffer(data, array.dtype).reshape(array.shape)
    array.flags.writeable = is_writable


def _begin_of(cluster, storages, values):
    """Give the address at which a cluster begins now."""
    begins = {span(storages[m[1]])[0] - m[2] for m in cluster if m[0] == STORAGE}
    if len(begins) > 1:
        raise Diverged("tensors over the same memory have come apart: %s" % (cluster[:2],))
    if begins:
        return begins.pop()
    largest = max(cluster, key=lambda member: member[3])
    found = span(values[largest[1]]) if largest[1] in values else None
    return found[0] - largest[2] if found is not None else 0


def _around(cluster, offset, size_b, storages):
    """Give a storage of the cluster that holds these bytes, or None."""
    for kind, name, at, room_b, _ in cluster:
        if kind == STORAGE and at <= offset and offset + size_b <= at + room_b:
            return storages[name]
    return None


def _move(name, value, low, lie, storage):
    """Let an array lie where it lay, inside a storage."""
    numpy = sys.modules.get("numpy")
    if not _can_move(value) or storage is None or not _is_known(numpy):
        raise Diverged("%s does not share its memory as it did" % name)
    flat = run.torch.empty(0, dtype=run.torch.uint8)
    flat.set_(storage, 0, (storage.nbytes(),), (1,))
    offset, strides = lie
    at = low + offset - storage.data_ptr()
    view = numpy.ndarray(value.shape, value.dtype, flat.numpy(), at, strides)
    view.flags.writeable = value.flags.writeable
    _swap(value, view)
    # The memory that it had may still be looked at by what no walk reaches.
    _left.append(view)


def take_over(array, other):
    """Let an array become what another one is, for all who hold it; False where that cannot be done."""
    numpy = sys.modules["numpy"]
    if type(array) is not numpy.ndarray or not _is_known(numpy):
        return False
    _swap(array, other)
    _left.append(other)
    return True


def _swap(one, other):
    """Let two arrays change bodies, each with what it owns."""
    at, to = id(one) + object.__basicsize__, id(other) + object.__basicsize__
    kept = ctypes.string_at(at, BODY_B)
    ctypes.memmove(at, to, BODY_B)
    ctypes.memmove(to, kept, BODY_B)


def _is_known(numpy):
    """Whether array objects are laid out as we think."""
    whole = numpy.zeros((2, 3))
    for probe in (whole, whole[:, 1:]):
        at = id(probe) + object.__basicsize__
        words = (ctypes.c_size_t * 5).from_address(at)
        flags = ctypes.c_int.from_address(at + BODY_B - 4).value
        base = 0 if probe.base is None else id(probe.base)
        known = (probe.ctypes.data, 2, base, probe.flags.num)
        if (words[0], words[1] & 0xFFFFFFFF, words[4], flags) != known:
            return False
    return True
