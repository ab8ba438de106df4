"""Tensors that leave as bytes: pickled, saved to a buffer or to a file outside the working directory.

A replay has no tensors to save, and the snapshot's image of the files brings back those below the working
directory only. So small ones are recorded whole and given again; a large buffer or file outside is part of
each snapshot as long as it is there.
"""

import functools
import gc
import io
import os
import pickle
import weakref
from _thread import get_ident

from vaultlayer_hooks.ghost import log, places
from vaultlayer_hooks.ghost.live import of_kind
from vaultlayer_hooks.ghost.state import OFF, REPLAY, Diverged, deep, run
from vaultlayer_hooks.saves import path_of

SMALL_B = 1 << 20
SMALL_MOST_B = 64 << 20
RECORDED_MOST_B = 256 << 20
ZIP = b"PK\x03\x04"


class _Known:
    """What has left so far."""

    def __init__(self):
        self.recorded_b = 0
        self.own_file = 0
        self.targets = []


_known = _Known()


def patch(torch):
    """Wrap `torch.save`, and the pickling of storages and to files."""
    torch.save = torch.serialization.save = _saving(torch.save)
    for cls in (torch.storage.TypedStorage, torch.storage.UntypedStorage):
        cls.__reduce__ = _reducing(torch, cls.__reduce__)
    pickle.dump = _dumping(pickle.dump)


def patch_safetensors(module):
    """Wrap `safetensors.torch`'s two ways out."""
    module.save_file = _saving_file(module.save_file)
    module.save = _giving(module.save)


def _in_loop():
    """Whether set-up is over, and no call of ours is open."""
    return run.mode != OFF and run.started and not run.depth


def _path_of(target):
    """Give the path of a target that is one, or that is a file with a name; None for a buffer."""
    path = path_of(target)
    if path is None:
        try:
            target.fileno()
            path = path_of(target.name) if isinstance(target.name, (str, bytes)) else None
        except Exception:
            return None
    return path


def _is_outside(target):
    """Whether what is written there must be seen to; the recording ends where it cannot be."""
    if not _in_loop():
        return False
    path = _path_of(target)
    if path is not None and run.files.holds(path):
        return False
    if get_ident() == run.main:
        return True
    if path is not None:
        run.give_up("a thread saves tensors outside the working directory")
    return False


def _record(kind, data):
    """Put bytes into the log, as long as they are not too many."""
    _known.recorded_b += len(data)
    if _known.recorded_b > RECORDED_MOST_B:
        most = RECORDED_MOST_B >> 20
        run.give_up("more than %d MB of tensors are pickled, or saved to other than files" % most)
        return
    log.note(kind, bytes(data))


def _saving(original):
    @functools.wraps(original)
    def save(obj, f, *args, **kwargs):
        if not _is_outside(f):
            return original(obj, f, *args, **kwargs)
        path = path_of(f)
        if path is not None:
            _save_at(path, original, (obj, f, *args), kwargs)
        else:
            _save_into(f, original, (obj, *args), kwargs)
        return None

    return save


def _save_at(path, original, args, kwargs):
    """Save to a path outside."""
    if run.mode == REPLAY:
        data = log.take("saved")
        if data is None:
            deep(original, args, kwargs)
            _keep(path)
            return
        with open(path, "wb") as file:
            file.write(data)
        return
    deep(original, args, kwargs)
    if _is_small(os.path.getsize(path)):
        with open(path, "rb") as file:
            _record("saved", file.read())
    else:
        log.note("saved")
        _keep(path)


def _save_into(file, original, args, kwargs):
    """Save into an open file or a buffer."""
    data = log.take("saved") if run.mode == REPLAY else None
    if data is None:
        made = io.BytesIO()
        deep(original, (args[0], made, *args[1:]), kwargs)
        data = made.getbuffer()
        is_kept = isinstance(file, io.BytesIO) and not _is_small(len(data))
        if run.mode != REPLAY and is_kept:
            log.note("saved")
        elif run.mode != REPLAY:
            _record("saved", data)
        if is_kept or run.mode == REPLAY:
            _keep(weakref.ref(file))
    file.write(data)
    if hasattr(file, "flush"):
        file.flush()


def _is_small(size_b):
    return size_b <= SMALL_B and _known.recorded_b + size_b <= SMALL_MOST_B


def _keep(target):
    """Let a path or a buffer be part of the snapshots from now on."""
    if target not in _known.targets:
        _known.targets.append(target)
        if not isinstance(target, str):
            places.saved_to.add(target())


def kept():
    """Give what is in the targets that are part of snapshots, as `((number, bytes, position), …)`.

    Raises:
        Diverged: a buffer is the copy of another one.
    """
    found, buffers = [], set()
    for number, target in enumerate(_known.targets):
        if isinstance(target, str):
            if os.path.isfile(target):
                with open(target, "rb") as file:
                    found.append((number, file.read(), 0))
        elif target() is not None:
            buffers.add(id(target()))
            found.append((number, target().getvalue(), target().tell()))
    _refuse_copies(buffers)
    return tuple(found)


def _refuse_copies(buffers):
    """A copy of a large buffer would keep what a replay saved."""
    if all(isinstance(target, str) for target in _known.targets):
        return
    for buffer in of_kind(gc.get_objects(), io.BytesIO):
        if id(buffer) not in buffers and not buffer.closed:
            data = buffer.getvalue()
            if len(data) > SMALL_B and data[:4] == ZIP:
                raise Diverged("a buffer is the copy of one that tensors were saved to")


def put(recorded):
    """Put back what `kept` gave.

    Raises:
        Diverged: a buffer is gone, or cannot be written to.
    """
    for number, data, position in recorded:
        target = _known.targets[number] if number < len(_known.targets) else None
        if isinstance(target, str):
            with open(target, "wb") as file:
                file.write(data)
            continue
        buffer = target() if target is not None else None
        if buffer is None:
            raise Diverged("a buffer that tensors were saved to is gone in the replay")
        try:
            buffer.seek(0)
            buffer.truncate()
            buffer.write(data)
            buffer.seek(position)
        except (BufferError, ValueError) as error:
            raise Diverged("a buffer cannot be written to: %s" % error) from error


def _saving_file(original):
    @functools.wraps(original)
    def save_file(tensors, filename, *args, **kwargs):
        if not _is_outside(filename):
            return original(tensors, filename, *args, **kwargs)
        return _save_at(path_of(filename), original, (tensors, filename, *args), kwargs)

    return save_file


def _giving(original):
    """Wrap a function that gives the bytes."""

    @functools.wraps(original)
    def giving(*args, **kwargs):
        if not _in_loop() or get_ident() != run.main:
            return original(*args, **kwargs)
        if run.mode == REPLAY:
            return log.take("saved")
        data = deep(original, args, kwargs)
        _record("saved", data)
        return data

    return giving


def _reducing(torch, original):
    """A storage is pickled as the bytes that `torch.save` makes of it."""
    load = torch.storage._load_from_bytes

    @functools.wraps(original)
    def __reduce__(self):
        if not _in_loop() or _known.own_file or get_ident() != run.main:
            return original(self)
        if run.mode == REPLAY:
            return (load, (log.take("pickled"),))
        function, (data,) = deep(original, (self,), {})
        _record("pickled", data)
        return (function, (data,))

    return __reduce__


def _dumping(original):
    @functools.wraps(original)
    def dump(obj, file, *args, **kwargs):
        path = _path_of(file) if _in_loop() and get_ident() == run.main else None
        if path is None or not run.files.holds(path):
            return original(obj, file, *args, **kwargs)
        _known.own_file += 1
        try:
            return original(obj, file, *args, **kwargs)
        finally:
            _known.own_file -= 1

    return dump
