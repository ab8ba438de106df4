"""Checkpoints by hand, for scripts that want to say themselves when they save and what.

    import vaultlayer_checkpoint as vl

    start = vl.restore("checkpoints", model=model, optimizer=optimizer)      # 0 when there is none
    for step in range(start + 1, steps + 1):
        ...
        vl.checkpoint(step=step, model=model, optimizer=optimizer, loss=loss)

Each checkpoint is a directory `checkpoint-<step>` that holds the state of the model, of the optimizer, of
whatever else was given, and of the random generators of Python, NumPy and PyTorch. It appears under its name
in one moment and complete (written aside, synced, renamed), and `checkpoint.json` in it bears the marks that
`restore` looks for. Needs no VaultLayer around it: copy this one file beside a script, and it works anywhere.
Standard library and the script's own torch; Python 3.9 or newer.
"""

import json
import os
import random
import re
import shutil
import sys
import zipfile

NAME = re.compile(r"^checkpoint-(\d+)$")
MARK = "checkpoint.json"
FORMAT = 1


class CheckpointError(Exception):
    """A checkpoint cannot be written or read; says what and why."""


def directory():
    """Give where checkpoints go: `VAULTLAYER_CHECKPOINT_DIR`, `CHECKPOINT_DIR`, or `checkpoints` here."""
    return (
        os.environ.get("VAULTLAYER_CHECKPOINT_DIR")
        or os.environ.get("CHECKPOINT_DIR")
        or "checkpoints"
    )


def checkpoint(step, model=None, optimizer=None, save_path=None, loss=None, *, keep=None, **more):
    """Write a checkpoint; give its path.

    In a run of several ranks only rank 0 writes, and every rank must have the same state.

    Args:
        step: how many steps are done; a whole number from 0.
        model: anything with `state_dict()`, or a dict of state itself.
        optimizer: the same.
        save_path: the directory in which `checkpoint-<step>` is made, or the whole path of that name;
            by default `directory()`.
        loss: the last loss, a number or a tensor of one; kept for people.
        keep: how many of the newest checkpoints of the directory stay; all by default.
        more: what else is to be restored, such as `scheduler=` or `scaler=`.

    Raises:
        CheckpointError: the step is no step.
        OSError: it cannot be written.
    """
    step = _checked(step)
    path = _path_of(save_path, step)
    if _rank() != 0:
        return path
    parts = {"model": model, "optimizer": optimizer, **more}
    states = {name: _state_of(part) for name, part in parts.items() if part is not None}
    top, name = os.path.split(path)
    aside, old = [
        os.path.join(top, ".%s.%s-%d" % (name, end, os.getpid())) for end in ("tmp", "old")
    ]
    os.makedirs(top, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    os.mkdir(aside)
    try:
        _write(aside, step, states, loss)
        if os.path.lexists(path):
            os.rename(path, old)
        os.rename(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _sync(top)
    _tell_end(path, step)
    shutil.rmtree(old, ignore_errors=True)
    if keep:
        for _, surplus in _complete(top)[keep:]:
            shutil.rmtree(surplus, ignore_errors=True)
    return path


def restore(dir=None, model=None, optimizer=None, **more):  # noqa: A002  the name is part of the contract
    """Load the newest complete checkpoint and random state; give its step, 0 when there is none.

    Args:
        dir: the directory of the checkpoints, or one `checkpoint-<step>`; by default `directory()`.
        model: gets the state by `load_state_dict`; a dict is emptied and filled.
        optimizer: the same.
        more: the same, by the names given to `checkpoint`.

    Raises:
        CheckpointError: the newest checkpoint lacks a part that is asked for.
    """
    top = os.path.abspath(os.fspath(dir) if dir is not None else directory())
    found = [(0, top)] if _is_complete(top) else _complete(top)
    if not found:
        return 0
    path = found[0][1]
    mark = _read_mark(path)
    parts = {"model": model, "optimizer": optimizer, **more}
    for name, part in parts.items():
        if part is not None:
            _load_into(part, name, path, mark)
    _set_random_state(_load(os.path.join(path, "random.pt")))
    return mark["step"]


def latest(dir=None):  # noqa: A002  as above
    """Give the path of the newest complete checkpoint, or None."""
    found = _complete(os.path.abspath(os.fspath(dir) if dir is not None else directory()))
    return found[0][1] if found else None


# Paths and marks -----------------------------------------------------------------------------------


def _checked(step):
    try:
        number = int(step)
    except (TypeError, ValueError):
        number = -1
    if number < 0 or number != step:
        raise CheckpointError("step=%r is no step; give a whole number from 0" % (step,))
    return number


def _path_of(save_path, step):
    top = os.path.abspath(os.fspath(save_path) if save_path is not None else directory())
    if NAME.match(os.path.basename(top)):
        return top
    return os.path.join(top, "checkpoint-%d" % step)


def _complete(top):
    """Give `(step, path)` of the complete checkpoints of a directory, newest step first."""
    try:
        names = os.listdir(top)
    except OSError:
        return []
    found = []
    for name in names:
        path = os.path.join(top, name)
        if NAME.match(name) and _is_complete(path):
            found.append((_read_mark(path)["step"], path))
    return sorted(found, reverse=True)


def _is_complete(path):
    mark = _read_mark(path)
    if mark is None:
        return False
    try:
        return all(
            os.path.getsize(os.path.join(path, name)) == size_b
            for name, size_b in mark["files"].items()
        ) and all(zipfile.is_zipfile(os.path.join(path, name)) for name in mark["files"])
    except OSError:
        return False


def _read_mark(path):
    try:
        with open(os.path.join(path, MARK), "rb") as file:
            mark = json.loads(file.read())
    except (OSError, ValueError):
        return None
    if not isinstance(mark, dict) or mark.get("format") != FORMAT:
        return None
    whole = isinstance(mark.get("step"), int) and isinstance(mark.get("files"), dict)
    return mark if whole else None


# Content -------------------------------------------------------------------------------------------


def _write(aside, step, states, loss):
    states = dict(states, random=_random_state())
    files = {}
    for name, state in states.items():
        file_name = name + ".pt"
        files[file_name] = _save(state, os.path.join(aside, file_name))
    mark = {"format": FORMAT, "step": step, "files": files}
    number = None if loss is None else float(loss.detach() if hasattr(loss, "detach") else loss)
    if number is not None and abs(number) < float("inf"):
        mark["loss"] = number
    with open(os.path.join(aside, MARK), "w") as file:
        json.dump(mark, file)
        file.flush()
        os.fsync(file.fileno())
    _sync(aside)


def _save(state, path):
    import torch

    with open(path, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _load(path):
    import torch

    # Our own file: random state and the dicts of schedulers hold more than plain tensors.
    return torch.load(path, map_location="cpu", weights_only=False)


def _state_of(part):
    return part.state_dict() if hasattr(part, "state_dict") else part


def _load_into(part, name, path, mark):
    if name + ".pt" not in mark["files"]:
        raise CheckpointError(
            "%s holds no %s; it was saved with %s"
            % (path, name, ", ".join(sorted(key[:-3] for key in mark["files"])))
        )
    state = _load(os.path.join(path, name + ".pt"))
    if hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
    else:
        part.clear()
        part.update(state)


def _random_state():
    import torch

    state = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if "numpy" in sys.modules:
        state["numpy"] = sys.modules["numpy"].random.get_state()
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _set_random_state(state):
    import torch

    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    if "numpy" in state and "numpy" in sys.modules:
        sys.modules["numpy"].random.set_state(state["numpy"])
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def _rank():
    try:
        return int(os.environ.get("RANK") or 0)
    except ValueError:
        return 0


def _sync(path):
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError:
        pass  # some network file systems cannot sync a directory
    finally:
        os.close(number)


def _tell_end(path, step):
    """Tell the agent, where there is one: this checkpoint is whole."""
    try:
        from vaultlayer_hooks import channel
    except ImportError:
        return
    meta = {"world": "1"}
    channel.ask("checkpoint_end", framework="vaultlayer", path=path, step=step, meta=meta)
