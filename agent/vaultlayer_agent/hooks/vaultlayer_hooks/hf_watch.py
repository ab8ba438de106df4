"""What a Trainer's own checkpoints do not hold, found by looking while it trains.

They hold weights, optimizer, the random state of their process, the place in the data, and what stateful
callbacks export. Not in them: what other callbacks and subclasses of the Trainer keep in attributes, and the
random numbers of data that was fetched ahead of the step or in a worker. The ghost holds all of that, so it
stays until the Trainer is seen to keep nothing of the kind.
"""

import sys

from vaultlayer_hooks import hf_marks, native

STEPS_LEAST = 2
"""After so many steps what an attribute keeps has had time to change."""
STEPS_PLAIN = 8
"""After so many steps a Trainer without anything of the user's own is known to draw no random data."""

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
        self.before = hf_marks.tensors(trainer)
        self.marks = None
        hf_marks.watch_fetches(sys.modules["torch"])

    def begun(self):
        """All callbacks have begun; a tensor that one of them has made now would be another in a resume."""
        hf_marks.watched.dataset = getattr(
            self.trainer.callback_handler.train_dataloader, "dataset", None
        )
        self.marks = hf_marks.of(self.trainer)
        for name, mark in hf_marks.tensors(self.trainer).items():
            if mark != self.before.get(name, ()):
                self.reason = _kept(name)
                return

    def stepped(self):
        """A step has ended: let the ghost go as soon as nothing of the user's own can keep anything."""
        self.steps += 1
        if self.steps == STEPS_PLAIN and not self.marks and not self.why():
            self._leave()

    def saved(self):
        """A checkpoint is being written: let the ghost go, or give a new reason why not, or ""."""
        if not self.why():
            if self.steps >= STEPS_LEAST:
                self._leave()
            return ""
        told, self._is_told = self._is_told, True
        return "" if told else self.reason

    def why(self):
        """Say what is not in the checkpoints, or ""."""
        if not self.reason and hf_marks.watched.has_drawn():
            self.reason = (
                "its data draws random numbers, also for batches fetched ahead of the step"
            )
        if not self.reason and self.marks is not None:
            now = hf_marks.of(self.trainer)
            changed = [name for name, mark in now.items() if mark != self.marks.get(name)]
            self.reason = _kept(changed[0]) if changed else ""
        _found[0] = _found[0] or self.reason
        return self.reason

    def end(self):
        """Hold nothing of the script's after its training, however that ended."""
        hf_marks.watched.dataset = None

    def _leave(self):
        if not _found[0]:
            native.take_over("HF Trainer saves its exact state by itself")


def _kept(name):
    return "%s is kept between steps, and is not in the Trainer's checkpoints" % name
