"""How the job will go on after an interruption, and how a person is told. Pure."""

from collections.abc import Collection

import msgspec

SELF_RESUMING = frozenset({"orbax"})
RELOADED_EXACTLY = frozenset({"dcp", "orbax", "vaultlayer"})
"""Frameworks that hold all of a training's state; who reads their checkpoints again goes on exactly."""
NAMES = {
    "hf": "HF Trainer",
    "vaultlayer": "vaultlayer_checkpoint",
    "dcp": "PyTorch distributed checkpoint",
    "orbax": "Orbax",
    "accelerate": "accelerate",
    "deepspeed": "DeepSpeed",
    "lightning": "Lightning",
    "keras": "Keras",
    "torch": "torch.save",
    "safetensors": "safetensors",
}


UNHOOKED = (
    "our hooks have not been heard from (--no-hooks, python -I, -E or -S, or not a Python script)"
)


class Seen(msgspec.Struct, kw_only=True):
    """What is known about the script so far.

    `hooked`: the hooks have spoken. `train`: the settings of the HF Trainer that runs, if any.
    `found`: frameworks whose complete checkpoints lie on disk. `exact`: the newest HF checkpoint holds
    optimizer and random state. `latest`: its name. `loads`: the script itself read a checkpoint.
    `native`: the framework whose own checkpoints our hooks go on from, not exactly.
    `resume_args`: the job has resume arguments. `ghost`: the step of the newest ghost snapshot that holds.
    `void`: why there is none, if one was tried.
    """

    hooked: bool = False
    train: dict[str, str] = {}
    found: Collection[str] = ()
    exact: bool = False
    latest: str = ""
    loads: bool = False
    native: str = ""
    resume_args: bool = False
    ghost: int | None = None
    void: str = ""


def find_tier(seen: Seen) -> tuple[str, str]:
    """Give the tier (A to E) and one line that says what it means for this script."""
    tier, detail = _tier(seen)
    if seen.void and tier in {"C", "D", "E"}:
        detail += f"; no snapshot for an exact resume: {seen.void}"
    return tier, detail


def _tier(seen: Seen) -> tuple[str, str]:
    if seen.ghost is not None:
        return "B", (
            "PyTorch: resumes at the exact step by replay, checked against its own log; "
            f"newest snapshot at step {seen.ghost}"
        )
    if seen.hooked and seen.train:
        return _trainer_tier(seen)
    found = [name for name in NAMES if name in seen.found]
    unhooked = "" if seen.hooked else f"; {UNHOOKED}"
    if seen.native:
        return "C", (
            f"{NAMES[seen.native]}: resumes from its last checkpoint; "
            "data order and randomness are not restored"
        )
    if not found:
        return "E", (
            "this script has saved no checkpoint so far; after an interruption it starts from zero"
            f"{unhooked}"
        )
    if seen.loads and RELOADED_EXACTLY & set(found):
        return "A", (
            f"{NAMES[found[0]]}: the script reloads its newest checkpoint by itself, at that step, "
            "as exactly as it saves random state and data position"
        )
    if seen.loads or seen.resume_args or SELF_RESUMING & set(found):
        return "C", (
            f"{NAMES[found[0]]}: resumes from your last checkpoint; "
            "data order and randomness are not restored by us"
        )
    return "D", (
        f"{NAMES[found[0]]}: checkpoints are safe in your bucket; unless your script looks for them by "
        "itself it starts from zero; add --resume-args '--resume {latest}' with the flag that it understands"
        f"{unhooked}"
    )


def _trainer_tier(seen: Seen) -> tuple[str, str]:
    train = seen.train
    if train.get("save_strategy") == "no":
        return "E", "HF Trainer with save_strategy=no: after an interruption it starts from zero"
    if train.get("save_only_model") == "true" or (seen.latest and not seen.exact):
        return "C", "HF Trainer: resumes the weights only (save_only_model), not the exact state"
    if train.get("ignore_data_skip") == "true":
        return (
            "C",
            "HF Trainer: resumes at the exact step, but not in the data order (ignore_data_skip)",
        )
    if why := train.get("inexact"):
        return "C", f"HF Trainer: resumes from its last checkpoint, but not exactly ({why})"
    every = (
        "each epoch"
        if train.get("save_strategy") == "epoch"
        else f"every {train.get('save_steps')} steps"
    )
    place = seen.latest or "its last checkpoint"
    return "A", f"HF Trainer: resumes at the exact step from {place}, saved {every}"
