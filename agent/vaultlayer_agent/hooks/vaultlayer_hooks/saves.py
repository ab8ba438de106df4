"""Tells the agent when a file is being saved, so that it need not guess when the file is whole.

Nothing about the saving itself is changed. Saves inside a checkpoint that is told as a whole (the HF
Trainer's, accelerate's) are not told one by one.
"""

import functools
import os
import threading

from vaultlayer_hooks import channel

LOADS_MOST = 20

_state = threading.local()
_loads = []


class Whole:
    """A save of a whole checkpoint: begin and end are told, the files inside it are not.

    The end waits for the agent, so that its hard links exist before the script can delete anything.
    """

    def __init__(self, path, framework, **fields):
        """`path` is absolute."""
        fields.setdefault("meta", {"world": os.environ.get("WORLD_SIZE", "1")})
        self._fields = dict(fields, path=path, framework=framework)

    def __enter__(self):
        self._outer = _depth() == 0
        _state.depth = _depth() + 1
        if self._outer:
            channel.tell("checkpoint_begin", **self._fields)
        return self

    def __exit__(self, kind, value, trace):
        _state.depth = _depth() - 1
        if self._outer and kind is not None:
            channel.tell("checkpoint_failed", **self._fields)
        elif self._outer:
            channel.ask("checkpoint_end", **self._fields)
        return False


def _depth():
    return getattr(_state, "depth", 0)


def path_of(target):
    """Give the absolute path as text, or None for an open file, a buffer, or what has none."""
    try:
        return os.path.abspath(os.fsdecode(os.fspath(target)))
    except Exception:
        return None


def _telling(save, framework, position, keyword):
    """Wrap a save function whose path is argument `position` or `keyword`."""

    @functools.wraps(save)
    def saving(*args, **kwargs):
        target = args[position] if len(args) > position else kwargs.get(keyword)
        path = path_of(target)
        if path is None:
            return save(*args, **kwargs)
        with Whole(path, framework):
            return save(*args, **kwargs)

    saving.vaultlayer = True
    return saving


def _noting(load, position, keyword):
    """Wrap a load function: which files a script reads again tells whether it resumes by itself."""

    @functools.wraps(load)
    def loading(*args, **kwargs):
        _note_load(path_of(args[position] if len(args) > position else kwargs.get(keyword)))
        return load(*args, **kwargs)

    loading.vaultlayer = True
    return loading


def _note_load(path):
    if path is not None and len(_loads) < LOADS_MOST and path not in _loads:
        _loads.append(path)
        channel.tell("loaded", path=path)


def patch_torch(module):
    """Wrap `torch.save` and `torch.load`, by both their names."""
    if getattr(module.save, "vaultlayer", False):
        return
    save = _telling(module.save, "torch", 1, "f")
    load = _noting(module.load, 0, "f")
    module.save, module.load = save, load
    module.serialization.save, module.serialization.load = save, load


def patch_safetensors(module):
    """Wrap `safetensors.torch.save_file`."""
    if not getattr(module.save_file, "vaultlayer", False):
        module.save_file = _telling(module.save_file, "safetensors", 1, "filename")


def patch_dcp(module):
    """Wrap `save` and `load` of `torch.distributed.checkpoint`, under which torchtitan and FSDP keep theirs.

    `async_save`, and the `save_state_dict` of torch 2.1, are left to the mark that they write last.
    """
    if not hasattr(module, "save") or getattr(module.save, "vaultlayer", False):
        return
    module.save = _telling_dcp(module.save)
    module.load = _noting_dcp(module.load)


def _telling_dcp(save):
    @functools.wraps(save)
    def saving(*args, **kwargs):
        path = _dcp_path(kwargs, "storage_writer")
        if path is None:
            return save(*args, **kwargs)
        with Whole(path, "dcp"):
            return save(*args, **kwargs)

    saving.vaultlayer = True
    return saving


def _noting_dcp(load):
    @functools.wraps(load)
    def loading(*args, **kwargs):
        _note_load(_dcp_path(kwargs, "storage_reader"))
        return load(*args, **kwargs)

    loading.vaultlayer = True
    return loading


def _dcp_path(kwargs, storage):
    """Give the directory of a distributed checkpoint: both arguments are given by keyword only."""
    if kwargs.get("checkpoint_id") is not None:
        return path_of(kwargs["checkpoint_id"])
    return path_of(getattr(kwargs.get(storage), "path", None))


def patch_orbax(module):
    """Note what Orbax restores: the managers and all checkpointers end in these two methods."""
    for name in ("Checkpointer", "AsyncCheckpointer", "StandardCheckpointer"):
        cls = getattr(module, name, None)
        if cls is not None and "restore" in vars(cls):
            cls.restore = _noting(cls.restore, 1, "directory")
