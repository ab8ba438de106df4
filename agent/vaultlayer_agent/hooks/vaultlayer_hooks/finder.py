"""Patches a module right after the script has imported it, and imports nothing by itself."""

import os
import sys

from vaultlayer_hooks import channel

DIVERGED_STATUS = 121


def _patch_trainer(module):
    from vaultlayer_hooks import hf_trainer

    hf_trainer.patch(module)


def _patch_torch(module):
    from vaultlayer_hooks import saves

    saves.patch_torch(module)
    channel.tell("framework", framework="torch", detail=str(getattr(module, "__version__", "")))
    _ghost("start", "start", module)


def _ghost(name, function, *args):
    """Let a module of the ghost, if there is to be one, do its part."""
    if not os.environ.get("VAULTLAYER_GHOST_DIR"):
        return
    try:
        import importlib

        getattr(importlib.import_module("vaultlayer_hooks.ghost." + name), function)(*args)
        for module in args:
            importlib.import_module("vaultlayer_hooks.ghost.names").settle(module)
    except Exception as failure:
        reason = "the hooks cannot be set up: %s: %s" % (type(failure).__name__, failure)
        if os.environ.get("VAULTLAYER_GHOST_MODE") == "replay":
            end_replay(reason)
        if name == "start":
            channel.tell("ghost_off", framework="ghost", detail=reason[:300])
        raise


def end_replay(reason):
    """End a process whose replay cannot begin: it would run the script from zero, and nobody would know."""
    channel.tell("diverged", framework="ghost", detail=reason[:300])
    os.write(2, ("vaultlayer: no replay: %s\n" % reason).encode())
    os._exit(DIVERGED_STATUS)


def _begin_random(module):
    _ghost("seeds", "begin_python")
    _ghost("clock", "patch_random", module)


def _begin_numpy(module):
    _ghost("seeds", "begin_numpy")
    _ghost("clock", "patch_numpy", module)


def _patch_time(module):
    _ghost("clock", "patch_time", module)


def _patch_datetime(module):
    _ghost("clock", "patch_datetime", module)


def _patch_uuid(module):
    _ghost("clock", "patch_uuid", module)


def _patch_secrets(module):
    _ghost("clock", "patch_secrets", module)


def _patch_tempfile(module):
    _ghost("temporary", "patch", module)


def _outside(function):
    return lambda module: _ghost("outside", function, module)


def _measures(function):
    return lambda module: _ghost("measures", function, module)


def _patch_socket(module):
    _ghost("outside", "patch_socket", module)
    _ghost("measures", "patch_socket", module)


def _patch_safetensors(module):
    from vaultlayer_hooks import saves

    saves.patch_safetensors(module)
    _ghost("serialized", "patch_safetensors", module)


def _patch_accelerator(module):
    from vaultlayer_hooks import accelerate_state

    accelerate_state.patch(module)


def _patch_dcp(module):
    from vaultlayer_hooks import saves

    saves.patch_dcp(module)


def _patch_orbax(module):
    from vaultlayer_hooks import saves

    saves.patch_orbax(module)


def _patch_lightning(module):
    from vaultlayer_hooks import lightning_fit

    lightning_fit.patch(module)


def _patch_keras(module):
    from vaultlayer_hooks import keras_fit

    _seen(module)
    keras_fit.patch(module)


def _seen(module):
    name = module.__name__.split(".")[0]
    channel.tell("framework", framework=name, detail=str(getattr(module, "__version__", "")))


PATCHES = {
    "time": _patch_time,
    "datetime": _patch_datetime,
    "random": _begin_random,
    "numpy.random": _begin_numpy,
    "uuid": _patch_uuid,
    "secrets": _patch_secrets,
    "tempfile": _patch_tempfile,
    "torch": _patch_torch,
    "subprocess": _outside("patch_subprocess"),
    "socket": _patch_socket,
    "os": _measures("patch_os"),
    "platform": _measures("patch_platform"),
    "resource": _measures("patch_resource"),
    "shutil": _measures("patch_shutil"),
    "tracemalloc": _measures("patch_tracemalloc"),
    "psutil": _measures("patch_psutil"),
    "requests.sessions": _outside("patch_requests"),
    "wandb.sdk.wandb_run": _outside("patch_wandb"),
    "mlflow.tracking.client": _outside("patch_mlflow"),
    "tensorboard.summary.writer.event_file_writer": _outside("patch_event_files"),
    "tensorboardX.event_file_writer": _outside("patch_event_files"),
    "torch.utils.tensorboard.writer": _outside("patch_summaries"),
    "safetensors.torch": _patch_safetensors,
    "accelerate.accelerator": _patch_accelerator,
    "transformers.trainer": _patch_trainer,
    "torch.distributed.checkpoint": _patch_dcp,
    "orbax.checkpoint": _patch_orbax,
    "lightning": _seen,
    "lightning.pytorch.trainer.trainer": _patch_lightning,
    "pytorch_lightning": _seen,
    "pytorch_lightning.trainer.trainer": _patch_lightning,
    "keras": _patch_keras,
    "jax": _seen,
    "tensorflow": _seen,
}


class Finder:
    """A meta-path finder that lets the others find the module and adds one call after its execution."""

    def __init__(self):
        self._searching = set()

    def find_spec(self, name, path=None, target=None):
        """Give the spec that the other finders give, its loader followed by our patch."""
        patch = PATCHES.get(name)
        if patch is None or name in self._searching:
            return None
        self._searching.add(name)
        try:
            spec = self._ask_others(name, path, target)
        finally:
            self._searching.discard(name)
        if spec is not None:
            follow(spec.loader, patch)
        return spec

    def _ask_others(self, name, path, target):
        # Those in front of us have been asked already, and said nothing.
        finders = list(sys.meta_path)
        for finder in finders[finders.index(self) + 1 :] if self in finders else finders:
            find = getattr(finder, "find_spec", None)
            if find is None:
                continue
            spec = find(name, path, target)
            if spec is not None:
                return spec
        return None


def follow(loader, patch):
    """Let `patch(module)` run once, after the loader has executed the module.

    The loader object stays the one that the import system made: others look at its type.
    """
    if loader is None or isinstance(loader, type) or not hasattr(loader, "exec_module"):
        return
    execute = loader.exec_module

    def exec_module(module):
        loader.__dict__.pop("exec_module", None)
        execute(module)
        apply_patch(patch, module)

    try:
        loader.exec_module = exec_module
    except Exception:
        pass


def apply_patch(patch, module):
    """Run a patch; a failure is told to the agent and goes no further."""
    try:
        patch(module)
    except Exception as failure:
        channel.tell("hook_failed", detail=module.__name__ + ": " + type(failure).__name__)


def install():
    """Put the finder first; modules that are already there are patched at once."""
    sys.meta_path.insert(0, Finder())
    for name, patch in PATCHES.items():
        module = sys.modules.get(name)
        if module is not None:
            apply_patch(patch, module)
