"""Which HF Trainer checkpoint on disk is the last complete one.

The Trainer's own `get_last_checkpoint` takes the highest number, half-written or not.
"""

import json
import os
import re

NAME = re.compile(r"^checkpoint-(\d+)$")
SHARD = re.compile(r"^.*-\d{5}-of-\d{5}\.(safetensors|bin)$")
SENTINEL = "checkpoint-is-incomplete.txt"
HEADER_MOST_B = 100_000_000


def last_complete(directory, world=1, is_wanted=None):
    """Give the path of the complete `checkpoint-N` with the highest N in a directory, or None.

    `is_wanted(path)` may refuse some.
    """
    try:
        names = os.listdir(directory)
    except OSError:
        return None
    found = sorted(
        (int(match.group(1)), name) for name in names for match in [NAME.match(name)] if match
    )
    for step, name in reversed(found):
        path = os.path.join(directory, name)
        if (is_wanted is None or is_wanted(path)) and is_complete(path, step, world):
            return path
    return None


def is_complete(path, step, world=1):
    """Whether a checkpoint directory holds everything that its writer meant to put there."""
    try:
        names = set(os.listdir(path))
        return SENTINEL not in names and _is_whole(path, names, step, world)
    except (OSError, ValueError):
        return False


def is_exact(path):
    """Whether it holds optimizer and random state, so that training can go on as if nothing happened."""
    names = set(os.listdir(path))
    return _has_optimizer(path, names) and any(name.startswith("rng_state") for name in names)


def _is_whole(path, names, step, world):
    state = _read_json(os.path.join(path, "trainer_state.json"))
    if not isinstance(state, dict) or state.get("global_step") != step:
        return False
    if not _weights_whole(path, names):
        return False
    # Optimizer, scheduler and random state are saved together or, with save_only_model, not at all.
    states = [name for name in names if name.startswith(("rng_state", "scheduler.pt", "scaler.pt"))]
    if not _has_optimizer(path, names):
        return not states
    if not _ranks_whole(names, world):
        return False
    return all(
        is_zip_whole(os.path.join(path, name))
        for name in [*states, "optimizer.pt"]
        if name in names
    )


def _weights_whole(path, names):
    for name in names:
        if name.endswith(".safetensors") and not _safetensors_whole(os.path.join(path, name)):
            return False
        if name.endswith(".index.json"):
            shards = _read_json(os.path.join(path, name)).get("weight_map", {}).values()
            if not set(shards) <= names:
                return False
    if any(SHARD.match(name) for name in names) and not any(
        n.endswith(".index.json") for n in names
    ):
        return False
    files = [
        name
        for name in names
        if name.endswith((".safetensors", ".bin")) and name != "training_args.bin"
    ]
    folders = [name for name in names if name.startswith(("global_step", "pytorch_model_fsdp"))]
    return bool(files or folders)


def _has_optimizer(path, names):
    if "optimizer.pt" in names or "optimizer.bin" in names:
        return True
    if "optimizer_0" in names:
        return os.path.exists(os.path.join(path, "optimizer_0", ".metadata"))
    if "latest" in names:
        with open(os.path.join(path, "latest")) as file:
            tag = os.path.join(path, file.read().strip())
        return any(name.endswith("_optim_states.pt") for name in os.listdir(tag))
    return any(name.startswith("rank") and name.endswith("optimizer.pt") for name in names)


def _ranks_whole(names, world):
    if "rng_state.pth" in names:
        return True
    have = {name for name in names if name.startswith("rng_state_")}
    return (
        bool(have) and {"rng_state_%d.pth" % rank for rank in range(max(world, len(have)))} <= have
    )


def _read_json(path):
    with open(path, "rb") as file:
        return json.loads(file.read())


def _safetensors_whole(path):
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(HEADER_MOST_B, size - 8):
            return False
        header = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return size == 8 + length + max(ends, default=0)


def is_zip_whole(path):
    """A file of torch is a zip, and its last record is written last; the old format has no such mark."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return os.path.getsize(path) > 0
        file.seek(-22, os.SEEK_END)
        return file.read(4) == b"PK\x05\x06"
