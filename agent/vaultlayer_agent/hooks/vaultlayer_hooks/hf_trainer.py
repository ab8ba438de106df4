"""The HF Trainer family: resume by itself, tell steps and checkpoints, save when the agent asks.

Patches `transformers.trainer.Trainer` and `CallbackHandler` as classes (measured with 4.57 and 5.23), so that
whatever subclasses or wraps the Trainer inherits it. A script that passes `resume_from_checkpoint` itself is
left alone. Nothing here draws a random number or reads a tensor: a hooked run computes what a bare one does.
"""

import functools
import os
import time

from vaultlayer_hooks import channel, complete, hf_native, hf_watch, native, saves

STEP_EVERY_S = 0.2
LOSS_EVERY_S = 0.05

SAVE_EVERY_STEPS = int(os.environ.get("VAULTLAYER_SAVE_EVERY_STEPS") or 0)
"""For a trial that cannot wait for the script's own interval; all ranks read the same, so all save."""

_trainings = {}
_watches = {}
"""By the id of a Trainer's callback handler: one of each for a call of `train`."""
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
    handler.on_train_begin = _beginning(handler.on_train_begin)
    handler.call_event = _happening(handler.call_event)
    _guard(hf_native.patch_passes, trainer)
    _guard(hf_native.patch_stopped, trainer)
    channel.tell("framework", framework="hf")


def _guard(function, *args):
    return native.guard("hf", function, *args)


def _training(original):
    @functools.wraps(original)
    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        trial = args[0] if args else kwargs.get("trial")
        training = _trainings[id(self)] = _guard(hf_native.Training, self)
        chosen = None
        if training is not None and not resume_from_checkpoint and trial is None:
            chosen = _guard(training.choose, self.args.world_size)
        path = chosen or resume_from_checkpoint
        _guard(_prepare, self, chosen, path)
        _guard(_tell_train, self, path)
        try:
            result = original(self, path, *args, **kwargs)
        finally:
            _trainings.pop(id(self), None)
            if (watch := _watches.pop(id(self.callback_handler), None)) is not None:
                watch.end()
        if chosen:
            _guard(_end_as_saved, self, chosen)
        _guard(_tell_step, self.state, None, True)
        return result

    train.vaultlayer = True
    return train


def _end_as_saved(trainer, path):
    """Leave what the end of a training left that was over already: nothing of it was computed again."""
    match = complete.NAME.match(os.path.basename(path))
    if trainer.state.global_step == int(match.group(1)):
        trainer._load_rng_state(path)
        hf_native.restore_noted(trainer.model, path)


def _prepare(trainer, chosen, path):
    """Begin to watch, put back what stateful callbacks had exported, and settle who takes the job on."""
    watch = hf_watch.Watch(trainer)
    _watches[id(trainer.callback_handler)] = watch
    if chosen:
        hf_native.restore_callbacks(trainer, chosen)
    if path and native.may_resume():
        native.take_over(
            "HF Trainer goes on from a checkpoint of its own, which a replay would not find"
        )
    elif not watch.is_alone and not hf_native.why_not_exact(trainer):
        native.take_over("HF Trainer saves its exact state by itself")


def _settings(trainer, inexact):
    args, training = trainer.args, _trainings.get(id(trainer))
    return {
        "world": str(args.world_size),
        "rank": str(args.process_index),
        "output_dir": os.path.abspath(args.output_dir),
        "save_only_model": str(bool(getattr(args, "save_only_model", False))).lower(),
        "ignore_data_skip": str(bool(args.ignore_data_skip)).lower(),
        "save_strategy": str(getattr(args.save_strategy, "value", args.save_strategy)),
        "save_steps": str(args.save_steps),
        "trained": str(training.number if training else 1),
        "inexact": inexact,
    }


def _tell_train(trainer, path):
    inexact = hf_native.why_not_exact(trainer)
    if isinstance(path, (str, os.PathLike)):
        inexact = inexact or hf_native.noted_inexact(path)
    channel.tell("train", framework="hf", meta=_settings(trainer, inexact))
    if isinstance(path, (str, os.PathLike)):
        match = complete.NAME.match(os.path.basename(os.path.abspath(path)))
        step = int(match.group(1)) if match else None
        detail = "exact" if complete.is_exact(path) else "weights only"
        if detail == "exact" and inexact:
            detail = "not exact: " + inexact
        channel.tell(
            "resumed", framework="hf", path=os.path.abspath(path), step=step, detail=detail
        )


def _beginning(original):
    @functools.wraps(original)
    def on_train_begin(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        watch = _watches.get(id(self))
        if watch is not None:
            _guard(watch.begun)
        return result

    return on_train_begin


def _happening(original):
    @functools.wraps(original)
    def call_event(self, event, *args, **kwargs):
        result = original(self, event, *args, **kwargs)
        if (watch := _watches.get(id(self))) is not None:
            watch.happened(event)
        return result

    return call_event


def _watch_step(watch):
    if not hf_native.why_not_exact(watch.trainer):
        watch.stepped()


def _watch_save(trainer, path):
    """Look whether the checkpoint that is being written will be exact, and tell when it is not."""
    watch = _watches.get(id(trainer.callback_handler))
    if watch is None or native.is_skipping() or hf_native.why_not_exact(trainer):
        return
    if reason := watch.saved():
        channel.tell("train", framework="hf", meta=_settings(trainer, reason))
    # Also beside a ghost: its first snapshot may come later than this checkpoint and a death.
    if watch.reason and trainer.args.should_save:
        hf_native.note_inexact(path, watch.reason)


def _whole(trainer, args, kwargs):
    trial = args[1] if len(args) > 1 else kwargs.get("trial")
    state = trainer.state
    folder = "checkpoint-%d" % state.global_step
    path = os.path.abspath(os.path.join(trainer._get_output_dir(trial=trial), folder))
    meta = {"world": str(trainer.args.world_size), "rank": str(trainer.args.process_index)}
    training = _trainings.get(id(trainer))
    if training is not None and trainer.args.should_save:
        training.mark(path)
    _guard(_watch_save, trainer, path)
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
        watch = _watches.get(id(self))
        if watch is not None:
            _guard(_watch_step, watch)
        return result

    return on_step_end


def _after_step(args, state, control):
    # Where the ghost records, it is the ghost that listens and saves.
    for message in [] if native.is_ghost_on() else channel.read():
        if message.get("kind") == "save":
            _wanted[0] = True
    # One rank saving alone would wait for the others for ever, so only a single process obeys.
    if _wanted[0] and args.world_size == 1 and control is not None:
        control.should_save = True
    _wanted[0] = False
    if SAVE_EVERY_STEPS and control is not None and not state.global_step % SAVE_EVERY_STEPS:
        control.should_save = True
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
    if not state.is_world_process_zero or native.is_skipping():
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
