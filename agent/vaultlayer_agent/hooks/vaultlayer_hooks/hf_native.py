"""Which of a Trainer's checkpoints it may go on from, and whether that is exact.

Several trainings of one script into one directory cannot be told apart by their `checkpoint-N`. So the second
and later ones leave a mark with their number in each checkpoint, and each goes on from its own only.
"""

import functools
import json
import os

from vaultlayer_hooks import complete, native

MARK = "vaultlayer_training"
INEXACT = "vaultlayer_inexact"
"""In a checkpoint that does not hold all of the training: the reason."""

ONLINE = (
    "GRPOTrainer",
    "RLOOTrainer",
    "OnlineDPOTrainer",
    "PPOTrainer",
    "XPOTrainer",
    "NashMDTrainer",
)
"""Trainers of TRL that keep generated samples between steps, which their checkpoints do not hold."""

_trained = {}


class Training:
    """One call of `Trainer.train`: into which directory, and the how many-th there."""

    def __init__(self, trainer):
        self.directory = os.path.abspath(trainer.args.output_dir)
        self.number = _trained[self.directory] = _trained.get(self.directory, 0) + 1

    def choose(self, world):
        """Give the last complete checkpoint of this training that the job made, or None."""
        if not native.may_resume():
            return None
        return complete.last_complete(self.directory, world, self.is_mine)

    def is_mine(self, path):
        """Whether this training wrote a checkpoint, in this job."""
        state = os.path.join(path, "trainer_state.json")
        return native.is_own(state) and number_of(path) == self.number

    def mark(self, path):
        """Put the number into a checkpoint that is about to be written; the first training needs none."""
        if self.number < 2:
            return
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, MARK), "w") as file:
            file.write("%d\n" % self.number)


def number_of(path):
    """Give the number of the training that wrote a checkpoint."""
    try:
        with open(os.path.join(path, MARK)) as file:
            return int(file.read())
    except FileNotFoundError:
        return 1


def why_not_exact(trainer):
    """Say why a Trainer's own checkpoints do not bring it back exactly, or ""."""
    args = trainer.args
    if str(getattr(args.save_strategy, "value", args.save_strategy)) == "no":
        return "save_strategy=no"
    if getattr(args, "save_only_model", False):
        return "save_only_model"
    if args.ignore_data_skip:
        return "ignore_data_skip"
    if not hasattr(trainer, "_init_training_state") and is_endless(trainer):
        return "data without a length, of which transformers 4 finds the first pass only"
    for cls in type(trainer).__mro__:
        if cls.__name__ in ONLINE:
            return cls.__name__ + " keeps samples between steps"
    return ""


def is_endless(trainer):
    """Whether the training data has no length, so that the Trainer takes all steps for one pass."""
    data = getattr(trainer, "train_dataset", None)
    try:
        return data is not None and len(data) is None
    except (TypeError, AttributeError):
        return True


def patch_passes(cls):
    """Let a resume find its place in a later pass over data without a length (transformers 5).

    The Trainer takes `max_steps` for the length of a pass, and so would skip the batches of all passes in the
    first one. Its state knows better: `epoch` is the number of the pass plus the share of `max_steps`.
    """
    original = getattr(cls, "_init_training_state", None)
    if original is None:
        return

    @functools.wraps(original)
    def _init_training_state(self, max_steps, *args, **kwargs):
        passes, batches = original(self, max_steps, *args, **kwargs)
        epoch = self.state.epoch or 0.0
        if not batches or passes or epoch < 1 or not is_endless(self):
            return passes, batches
        per_pass = max_steps * self.args.gradient_accumulation_steps
        return int(epoch), round((epoch - int(epoch)) * per_pass)

    cls._init_training_state = _init_training_state


def restore_callbacks(trainer, path):
    """Put back what stateful callbacks had exported; the Trainer does so on request only."""
    if getattr(trainer.args, "restore_callback_states_from_checkpoint", False):
        return
    with open(os.path.join(path, "trainer_state.json")) as file:
        exported = json.load(file).get("stateful_callbacks") or {}
    for name, states in exported.items():
        states = list(states) if isinstance(states, list) else [states]
        for callback in trainer.callback_handler.callbacks:
            if type(callback).__name__ == name and states:
                for attribute, value in states.pop(0).get("attributes", {}).items():
                    setattr(callback, attribute, value)
    if (exported.get("TrainerControl") or {}).get("args", {}).get("should_training_stop"):
        _stopped.add(id(trainer))


def restore_noted(model, path):
    """Put back what the first forward pass notes in a model's configuration: the kind of its labels."""
    config, saved = getattr(model, "config", None), os.path.join(path, "config.json")
    if getattr(config, "problem_type", "") is None and os.path.isfile(saved):
        with open(saved) as file:
            config.problem_type = json.load(file).get("problem_type")


_stopped = set()
"""Trainers whose checkpoint was their last, because a callback had ended the training early."""


def patch_stopped(cls):
    """Let a training that had been stopped before its last step take no step more (transformers 5)."""
    original = getattr(cls, "_run_epoch", None)
    if original is None:
        return

    @functools.wraps(original)
    def _run_epoch(self, *args, **kwargs):
        if id(self) not in _stopped:
            return original(self, *args, **kwargs)
        _stopped.discard(id(self))
        self.control.should_training_stop = True
        return None

    cls._run_epoch = _run_epoch


def note_inexact(path, reason):
    """Write into a checkpoint why it is not the whole training."""
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, INEXACT), "w") as file:
        file.write(reason + "\n")


def noted_inexact(path):
    """Read what `note_inexact` wrote, or ""."""
    try:
        with open(os.path.join(path, INEXACT)) as file:
            return file.read().strip()
    except OSError:
        return ""
