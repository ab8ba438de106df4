"""Lightning: go on from the newest whole checkpoint of this job, where no ghost does it better.

Lightning's own resume restores neither random state nor the position in the data, so it is told as not exact.
Wraps `Trainer.fit` and `Trainer.save_checkpoint` (measured with 2.6). A script that gives `ckpt_path` itself
is left alone.
"""

import functools
import inspect
import os

from vaultlayer_hooks import channel, complete, native, saves

NEEDED = ("state_dict", "optimizer_states", "loops")

_fitted = {}


def patch(module):
    """Wrap the Trainer of a freshly imported `…trainer.trainer`."""
    trainer = module.Trainer
    if getattr(trainer.fit, "vaultlayer", False):
        return
    fit, save = _fitting(trainer.fit), _saving(trainer.save_checkpoint)
    trainer.fit, trainer.save_checkpoint = fit, save


def _fitting(original):
    signature = inspect.signature(original)

    @functools.wraps(original)
    def fit(*args, **kwargs):
        more = native.guard("lightning", _resume, signature, args, kwargs) or {}
        return original(*args, **dict(kwargs, **more))

    fit.vaultlayer = True
    return fit


def _resume(signature, args, kwargs):
    """Give the arguments to add to `fit`, none where it is to begin as the script wants it."""
    given = signature.bind(*args, **kwargs).arguments
    trainer, model = given["self"], given["model"]
    root = os.path.abspath(trainer.default_root_dir)
    _fitted[root] = _fitted.get(root, 0) + 1
    if given.get("ckpt_path") is not None or _fitted[root] > 1 or native.is_ghost_on():
        return {}
    native.tell_resume("lightning", False)
    if not native.may_resume():
        return {}
    for path in _candidates(trainer, root):
        more = _fitting_args(path, model, signature)
        if more is not None:
            detail = "not exact: data order and random state start anew"
            step = more.pop("step")
            channel.tell("resumed", framework="lightning", path=path, step=step, detail=detail)
            return more
    return {}


def _candidates(trainer, root):
    """Give the checkpoints of this job, newest first."""
    folders = [root] + [
        str(callback.dirpath)
        for callback in getattr(trainer, "checkpoint_callbacks", [])
        if getattr(callback, "dirpath", None)
    ]
    found = {}
    for folder in folders:
        for directory, _, names in os.walk(folder):
            for name in names:
                path = os.path.realpath(os.path.join(directory, name))
                if name.endswith(".ckpt") and native.is_own(path):
                    found[path] = os.stat(path).st_mtime_ns
    return sorted(found, key=found.get, reverse=True)


def _fitting_args(path, model, signature):
    """Give the arguments that make `fit` load a checkpoint; None where it is broken or of another model."""
    import torch

    try:
        if not complete.is_zip_whole(path):
            return None
        # As the job's own file it may hold any object, and Lightning asks for plain ones by default.
        held = torch.load(path, map_location="cpu", weights_only=False, mmap=True)
    except Exception:
        return None
    if not isinstance(held, dict) or any(name not in held for name in NEEDED):
        return None
    ours = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in held["state_dict"].items()}
    if ours != theirs:
        return None
    more = {"ckpt_path": path, "step": held.get("global_step")}
    if "weights_only" in signature.parameters:
        more["weights_only"] = False
    return more


def _saving(original):
    @functools.wraps(original)
    def save_checkpoint(self, filepath, *args, **kwargs):
        whole = native.guard("lightning", _whole, self, filepath)
        if whole is None:
            return original(self, filepath, *args, **kwargs)
        with whole:
            return original(self, filepath, *args, **kwargs)

    return save_checkpoint


def _whole(trainer, filepath):
    if not trainer.is_global_zero:
        return None
    path = os.path.abspath(os.fsdecode(os.fspath(filepath)))
    return saves.Whole(path, "lightning", step=trainer.global_step)
