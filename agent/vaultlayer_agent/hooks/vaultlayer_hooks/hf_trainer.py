"""The HF Trainer family: resume by itself, tell steps and checkpoints, save when the agent asks.

Patches `transformers.trainer.Trainer` and `CallbackHandler` as classes (measured with 4.57 and 5.23), so that
whatever subclasses or wraps the Trainer inherits it. A script that passes `resume_from_checkpoint` itself is
left alone. Nothing here draws a random number or reads a tensor: a hooked run computes what a bare one does.
"""

import functools
import os
import sys
import time

from vaultlayer_hooks import channel, complete, saves

STEP_EVERY_S = 0.2
LOSS_EVERY_S = 0.05

_trained = {}
_told_at = [0.0, -1]
_wanted = [False]


def patch(module):
    """Wrap the Trainer of a freshly imported `transformers.trainer`."""
    trainer, handler = module.Trainer, module.CallbackHandler
    if getattr(trainer.train, "vaultlayer", False):
        return
    train, save = _training(trainer.train), _saving(trainer._save_checkpoint)
    step_end, log = _step_ending(handler.on_step_end), _logging(handler.on_log)
    trainer.train, trainer._save_checkpoint = train, save
    handler.on_step_end, handler.on_log = step_end, log
    channel.tell("framework", framework="hf")


def _guard(function, *args):
    """Call our own code inside the script: whatever it raises, the script goes on."""
    try:
        return function(*args)
    except Exception as failure:
        channel.tell(
            "hook_failed", framework="hf", detail=type(failure).__name__ + ": " + str(failure)[:200]
        )
        return None


def _training(original):
    @functools.wraps(original)
    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        trial = args[0] if args else kwargs.get("trial")
        chosen = None
        if not resume_from_checkpoint and trial is None:
            chosen = _guard(_choose, self)
        _guard(_tell_train, self, chosen or resume_from_checkpoint)
        result = original(self, chosen or resume_from_checkpoint, *args, **kwargs)
        _guard(_tell_step, self.state, None, True)
        return result

    train.vaultlayer = True
    return train


def _choose(trainer):
    """Give the checkpoint to go on from, or None: once per directory, and only in a restarted job."""
    directory = os.path.abspath(trainer.args.output_dir)
    _trained[directory] = _trained.get(directory, 0) + 1
    if os.environ.get("VAULTLAYER_RESUME") != "1" or _trained[directory] > 1:
        return None
    return complete.last_complete(trainer.args.output_dir, trainer.args.world_size)


def _tell_train(trainer, path):
    args = trainer.args
    meta = {
        "world": str(args.world_size),
        "rank": str(args.process_index),
        "output_dir": os.path.abspath(args.output_dir),
        "save_only_model": str(bool(getattr(args, "save_only_model", False))).lower(),
        "ignore_data_skip": str(bool(args.ignore_data_skip)).lower(),
        "save_strategy": str(getattr(args.save_strategy, "value", args.save_strategy)),
        "save_steps": str(args.save_steps),
        "trained": str(_trained.get(os.path.abspath(args.output_dir), 1)),
    }
    channel.tell("train", framework="hf", meta=meta)
    if meta["save_strategy"] != "no" and {meta["save_only_model"], meta["ignore_data_skip"]} == {
        "false"
    }:
        _end_ghost()
    if isinstance(path, (str, os.PathLike)):
        match = complete.NAME.match(os.path.basename(os.path.abspath(path)))
        step = int(match.group(1)) if match else None
        detail = "exact" if complete.is_exact(path) else "weights only"
        channel.tell(
            "resumed", framework="hf", path=os.path.abspath(path), step=step, detail=detail
        )


def _end_ghost():
    """The Trainer's own checkpoints are exact, smaller, and outlive a change of the code."""
    ghost = sys.modules.get("vaultlayer_hooks.ghost.state")
    if ghost is not None and ghost.run.mode == ghost.RECORD:
        ghost.run.give_up("the HF Trainer saves and resumes exactly by itself")


def _whole(trainer, args, kwargs):
    trial = args[1] if len(args) > 1 else kwargs.get("trial")
    state = trainer.state
    folder = "checkpoint-%d" % state.global_step
    path = os.path.abspath(os.path.join(trainer._get_output_dir(trial=trial), folder))
    meta = {"world": str(trainer.args.world_size), "rank": str(trainer.args.process_index)}
    return saves.Whole(path, "hf", step=state.global_step, steps=state.max_steps, meta=meta)


def _saving(original):
    @functools.wraps(original)
    def _save_checkpoint(self, *args, **kwargs):
        whole = _guard(_whole, self, args, kwargs)
        if whole is None:
            return original(self, *args, **kwargs)
        with whole:
            return original(self, *args, **kwargs)

    return _save_checkpoint


def _step_ending(original):
    @functools.wraps(original)
    def on_step_end(self, args, state, control, **kwargs):
        result = original(self, args, state, control, **kwargs)
        _guard(_after_step, args, state, result)
        return result

    return on_step_end


def _after_step(args, state, control):
    for message in channel.read():
        if message.get("kind") == "save":
            _wanted[0] = True
    # One rank saving alone would wait for the others for ever, so only a single process obeys.
    if _wanted[0] and args.world_size == 1 and control is not None:
        control.should_save = True
    _wanted[0] = False
    _tell_step(state, None, False)


def _logging(original):
    @functools.wraps(original)
    def on_log(self, args, state, control, logs, **kwargs):
        result = original(self, args, state, control, logs, **kwargs)
        _guard(_tell_step, state, logs, False)
        return result

    return on_log


def _tell_step(state, logs, last):
    """Tell the step, at most each 0.2 s, with a loss each 50 ms; a logged loss is a plain number."""
    if not state.is_world_process_zero:
        return
    loss = logs.get("loss") if logs else None
    now = time.monotonic()
    # JSON has no word for a loss that blew up.
    known = isinstance(loss, (int, float)) and abs(loss) < float("inf")
    every_s = LOSS_EVERY_S if known else STEP_EVERY_S
    if not (last or _told_at[1] < 0) and now - _told_at[0] < every_s:
        return
    _told_at[:] = [now, state.global_step]
    fields = {"step": state.global_step, "steps": state.max_steps, "framework": "hf"}
    if known:
        fields["loss"] = float(loss)
    channel.tell("step", drop=not last, **fields)
