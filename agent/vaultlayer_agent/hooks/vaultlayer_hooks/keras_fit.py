"""Keras: keep a backup of each `fit` and go on from it, where no ghost does it better.

Adds Keras' own `BackupAndRestore` (measured with 3.15) to a `fit` that has none. It goes on at the beginning
of an epoch, without random state, so it is told as not exact. The backup lies below the checkpoint directory
and is deleted at the end of `fit`, as Keras does it; it is written at most every `EVERY_S`.
"""

import functools
import inspect
import os
import time

from vaultlayer_hooks import channel, native, saves

EVERY_S = float(os.environ.get("VAULTLAYER_KERAS_BACKUP_EVERY_S") or 20)

_fits = [0]


def patch(module):
    """Wrap `fit` of a freshly imported `keras`."""
    model = module.Model
    if not getattr(model.fit, "vaultlayer", False):
        model.fit = _fitting(model.fit, module)


def _fitting(original, keras):
    signature = inspect.signature(original)

    @functools.wraps(original)
    def fit(*args, **kwargs):
        bound = native.guard("keras", _with_backup, keras, signature, args, kwargs)
        if bound is None:
            return original(*args, **kwargs)
        return original(*bound.args, **bound.kwargs)

    fit.vaultlayer = True
    return fit


def _with_backup(keras, signature, args, kwargs):
    """Give the arguments with the backup among the callbacks; None where the script keeps its own way."""
    _fits[0] += 1
    bound = signature.bind(*args, **kwargs)
    given = bound.arguments.get("callbacks")
    model = bound.arguments["self"]
    callbacks = list(given) if isinstance(given, (list, tuple)) else given and [given]
    if native.is_ghost_on() or not model.built or bound.arguments.get("initial_epoch"):
        return None
    if any(not isinstance(callback, keras.callbacks.Callback) for callback in callbacks or []):
        return None
    own = keras.callbacks.BackupAndRestore
    if any(isinstance(callback, own) for callback in callbacks or []):
        native.tell_resume("keras", False)
        return None
    if isinstance(given, keras.callbacks.CallbackList):
        return None
    directory = _directory(_fits[0])
    if os.path.exists(directory) and not (native.may_resume() and _is_ours(directory)):
        return None
    native.tell_resume("keras", False)
    bound.arguments["callbacks"] = [*(callbacks or []), _backup(own, directory)]
    return bound


def _directory(number):
    top = os.environ.get("VAULTLAYER_CHECKPOINT_DIR") or "checkpoints"
    return os.path.join(os.path.abspath(top), "keras-backup-%d" % number)


def _is_ours(directory):
    names = os.listdir(directory)
    return all(native.is_own(os.path.join(directory, name)) for name in names)


def _backup(base, directory):
    class VaultLayerBackup(base):
        """Keras' own backup, not more often than it is worth, and told to the agent."""

        saved_at = time.monotonic() - EVERY_S

        def on_train_begin(self, logs=None):
            fresh = self.model.get_weights()
            try:
                super().on_train_begin(logs)
            except Exception as failure:
                # Another model than the one that was saved: the script begins as it would without us.
                self.model.set_weights(fresh)
                channel.tell("hook_failed", framework="keras", detail=str(failure)[:200])
                return
            epoch = getattr(self.model, "_initial_epoch", None)
            if epoch:
                detail = "not exact: from epoch %d, random state starts anew" % epoch
                path = os.path.abspath(self.backup_dir)
                channel.tell("resumed", framework="keras", path=path, detail=detail)

        def _save_model(self):
            now = time.monotonic()
            if now - self.saved_at < EVERY_S:
                return
            path = os.path.join(os.path.abspath(self.backup_dir), "latest.weights.h5")
            with saves.Whole(path, "keras"):
                super()._save_model()
            self.saved_at = time.monotonic()

    return VaultLayerBackup(directory, double_checkpoint=True)
