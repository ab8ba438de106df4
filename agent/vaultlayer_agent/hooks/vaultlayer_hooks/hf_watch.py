"""What a Trainer's own checkpoints do not hold, found by looking while it trains.

They hold weights, optimizer, the random state of their process, the place in the data, and what stateful
callbacks export. Not in them: what else the script keeps between steps (see `hf_owned`), and the random
numbers of data that was fetched ahead of the step or in a worker. The ghost holds all of that, so it stays
until the Trainer is seen to keep nothing of the kind; once it is seen to, a snapshot is due at once, for a
death before the first one would go on from a checkpoint that lacks something.
"""

import sys

from vaultlayer_hooks import hf_fetches, hf_owned, native

STEPS_LEAST = 2
"""After so many steps what an attribute keeps has had time to change."""
STEPS_PLAIN = 8
"""After so many steps a Trainer without any code of the user's own is known to keep nothing."""
AWAITED = frozenset(("on_epoch_begin", "on_epoch_end", "on_log", "on_evaluate", "on_save"))
"""What a callback does at these it may do for the first time after the first checkpoint."""

BLIND = "what it keeps between steps cannot be looked at, so it may not be in the checkpoints"

_found = [""]
"""The first reason found in this process: a replay begins at its start, so it counts for later trainings."""


class Watch:
    """One call of `Trainer.train`."""

    def __init__(self, trainer):
        self.trainer = trainer
        self.is_alone = not (
            trainer.args.world_size > 1
            or getattr(trainer, "is_deepspeed_enabled", False)
            or getattr(trainer, "is_fsdp_enabled", False)
        )
        self.steps = 0
        self.reason = ""
        self._is_told = False
        self._awaited = set()
        self._has_own = True
        self.before = hf_owned.tensors_of(trainer)
        self.marks = None
        self.data_marks = None
        hf_fetches.watch_fetches(sys.modules["torch"])

    def begun(self):
        """All callbacks have begun; a tensor that one of them has made now would be another in a resume."""
        hf_fetches.watched.begin(self.trainer)
        self.marks = hf_owned.marks_of(self.trainer)
        self._has_own = hf_owned.has_own(self.trainer)
        passes = self.trainer.state.num_train_epochs
        self._awaited = _awaited(self.trainer.callback_handler.callbacks, passes)
        sampler = hf_owned.unseeded_sampler(self.trainer.callback_handler.train_dataloader)
        if sampler and passes > 1:
            self._give(
                "%s has no set_epoch, so its order in a later pass may hang on what was drawn before"
                % sampler
            )
        for name, mark in hf_owned.tensors_of(self.trainer).items():
            if mark != self.before.get(name, ()):
                self._give(_kept(name))

    def happened(self, event):
        """The callbacks have been told of an event."""
        self._awaited.discard(event)

    def stepped(self):
        """A step has ended: let the ghost go as soon as no code of the user's own can keep anything."""
        self.steps += 1
        if self.steps == 1:
            self.data_marks = hf_owned.data_marks_of(self.trainer)
        if self.steps <= STEPS_PLAIN or not self.steps & (self.steps - 1):
            self.why()
        if self.steps == STEPS_PLAIN and not self._has_own and not self.reason:
            self._leave()

    def saved(self):
        """A checkpoint is being written: let the ghost go, or give a new reason why not, or ""."""
        if not self.why():
            if self.steps >= STEPS_LEAST and not self._awaited:
                self._leave()
            return ""
        told, self._is_told = self._is_told, True
        return "" if told else self.reason

    def why(self):
        """Say what is not in the checkpoints, or ""."""
        if not self.reason:
            self._give(hf_fetches.watched.why() or self._changed())
        return self.reason

    def _changed(self):
        if self.marks is None:
            return BLIND
        try:
            return self._compared()
        except Exception:
            return BLIND

    def _compared(self):
        now = hf_owned.marks_of(self.trainer)
        changed = [name for name, mark in now.items() if mark != self.marks.get(name)]
        if not changed and self.data_marks is not None:
            now = hf_owned.data_marks_of(self.trainer)
            changed = [name for name, mark in now.items() if mark != self.data_marks.get(name)]
        return _kept(changed[0]) if changed else ""

    def _give(self, reason):
        if reason and not self.reason:
            self.reason = reason
            _found[0] = _found[0] or reason
            native.snapshot_soon()

    def end(self):
        """Hold nothing of the script's after its training, however that ended."""
        hf_fetches.watched.end()

    def _leave(self):
        if not _found[0]:
            native.take_over("HF Trainer saves its exact state by itself")


def _awaited(callbacks, passes):
    """Give the events in the middle of a training at which callbacks of the script's own act."""
    found = {
        event
        for callback in callbacks
        if hf_owned.root_of(type(callback)) != "transformers"
        for event in AWAITED
        if hf_owned.is_users(_where(type(callback), event))
    }
    return found if passes > 1 else found - {"on_epoch_end"}


def _where(cls, name):
    """Give the class that defines a method."""
    return next((base for base in cls.__mro__ if name in vars(base)), object)


def _kept(name):
    return "%s is kept between steps, and is not in the Trainer's checkpoints" % name
