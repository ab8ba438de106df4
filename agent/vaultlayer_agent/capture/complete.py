"""Which directories and files are checkpoints, and which of them are complete.

Pure over a tree (`tree.py`) and a reader of file parts. What each framework writes last, and so what makes a
checkpoint complete:

| framework | unit | complete when |
|---|---|---|
| vaultlayer | `checkpoint-N` | `checkpoint.json` names its files, and they are as long as it says |
| hf | `checkpoint-N` | `trainer_state.json` names step N, weights whole, all ranks' state or none |
| dcp (FSDP, torchtitan) | directory | `.metadata` is there |
| orbax | directory | the temporary name is gone, and its metadata names the time of the commit |
| accelerate | directory | optimizer and `random_states_0..k` are there, and it is quiet |
| deepspeed | tag directory | `latest` beside it names it or a later one, or it is quiet |
| lightning, keras, torch, safetensors | file | the format's end is there (`formats.py`), and it is quiet |
"""

import re
from collections.abc import Mapping

import msgspec

from vaultlayer_agent.capture.formats import is_torch_file, is_whole
from vaultlayer_agent.capture.tree import (
    Entry,
    Reader,
    Tree,
    base_of,
    files_of,
    newest_ns,
    parent_of,
)

SENTINEL = "checkpoint-is-incomplete.txt"
HF_NAME = re.compile(r"^(?:tmp-)?checkpoint-(\d+)$")
HF_MARKS = ("trainer_state.json", "training_args.bin", SENTINEL)
"""What only the Trainer writes, the second before optimizer and random state: their names are anybody's."""
STEP = re.compile(r"(?:step|iter|checkpoint)[-_=]?(\d+)|^(\d+)$")
RANK = re.compile(r"^(?:rng_state|random_states)_(\d+)\.(?:pth|pkl)$")
SHARD = re.compile(r"^[^/]*-\d{5}-of-\d{5}\.(?:safetensors|bin)$")
OURS_MARK = "checkpoint.json"
OURS_ASIDE = re.compile(r"^\.checkpoint-\d+\.(?:tmp|old)-\d+$")
ORBAX_TMP = ".orbax-checkpoint-tmp"
ORBAX_MARKS = ("_CHECKPOINT_METADATA", "commit_success.txt")
WEIGHTS = (".safetensors", ".bin")
KERAS = (".keras", ".h5", ".hdf5")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that was found, whole or not.

    `marked`: its framework has written its last mark, so nothing need be waited for. `single`: one file,
    which may be rewritten in place. `exact`: it holds optimizer and random state.
    """

    framework: str
    path: str
    complete: bool
    marked: bool = False
    single: bool = False
    exact: bool = False
    step: int | None = None
    mtime_ns: int = 0
    why: str = ""


def step_of(name: str) -> int | None:
    """Give the step that a file's or directory's name tells, such as `step-300` or `checkpoint_7.pt`."""
    found = STEP.search(base_of(name).partition(".")[0])
    return int(found.group(1) or found.group(2)) if found else None


def find_units(tree: Tree) -> dict[str, str]:
    """Give the directories that are checkpoints of a known framework, outermost ones only."""
    marks: dict[str, str] = {}
    numbered: set[str] = set()
    for name, entry in tree.items():
        base = base_of(name)
        if entry.kind == "dir":
            if ORBAX_TMP in base:
                marks[name] = "orbax"
            elif OURS_ASIDE.match(base):
                marks[name] = "vaultlayer"
            elif HF_NAME.match(base):
                numbered.add(name)
        elif (unit := parent_of(name)) and (framework := _framework_of(base, base_of(unit))):
            # What the Trainer writes itself outranks the engines that write inside its directory.
            marks[unit] = "hf" if marks.get(unit) == "hf" else framework
    trained = {parent_of(name) for name, framework in marks.items() if framework == "hf"}
    for name in numbered:
        if name not in marks and (parent_of(name) in trained or base_of(name).startswith("tmp-")):
            marks[name] = "hf"
    marks |= dict.fromkeys(_begun_dcp(tree, marks), "dcp")
    return {name: marks[name] for name in sorted(marks) if not _has_outer(name, marks)}


def _begun_dcp(tree: Tree, marks: Mapping[str, str]) -> list[str]:
    """Give the directories that bear a step like their complete neighbours, and hold nothing yet."""
    kin = {
        (parent_of(name), STEP.sub("", base_of(name)))
        for name, framework in marks.items()
        if framework == "dcp" and STEP.search(base_of(name))
    }
    if not kin:
        return []
    filled = {parent_of(name) for name in tree}
    return [
        name
        for name, entry in tree.items()
        if entry.kind == "dir"
        and name not in filled
        and STEP.search(base_of(name))
        and (parent_of(name), STEP.sub("", base_of(name))) in kin
    ]


def _framework_of(base: str, folder: str) -> str:
    if HF_NAME.match(folder) and base in HF_MARKS:
        return "hf"
    if base == OURS_MARK and HF_NAME.match(folder):
        return "vaultlayer"
    if base == ".metadata" or base.endswith(".distcp"):
        return "dcp"
    if base in ORBAX_MARKS:
        return "orbax"
    if base == "optimizer.bin" or base.startswith("random_states_"):
        return "accelerate"
    if base.endswith(("_optim_states.pt", "_model_states.pt")):
        return "deepspeed"
    return ""


def _has_outer(name: str, marks: dict[str, str]) -> bool:
    outer = parent_of(name)
    while outer:
        if outer in marks:
            return True
        outer = parent_of(outer)
    return False


def judge_unit(framework: str, path: str, unit: Tree, read: Reader, *, world: int = 0) -> Finding:
    """Judge one checkpoint directory; `unit` and `read` go by names relative to it.

    Args:
        framework: as `find_units` gave it.
        path: the directory, relative to its place.
        unit: what lies below it.
        read: reads its files.
        world: how many ranks write it, 0 when unknown.
    """
    try:
        why, marked, exact = _RULES[framework](path, unit, read, world)
        why = why or _broken_file(unit, read)
    except OSError:
        why, marked, exact = "files vanish from it", False, False
    return Finding(
        framework=framework,
        path=path,
        complete=not why,
        marked=marked,
        exact=exact,
        step=step_of(path),
        mtime_ns=newest_ns(unit.values()),
        why=why,
    )


def judge_file(name: str, entry: Entry, read: Reader) -> Finding | None:
    """Judge one file outside all units: None when it is no checkpoint."""
    framework = _file_framework(name)
    if not framework:
        return None
    try:
        whole = is_whole(
            name,
            entry.size_b,
            lambda most: read.head(name, most),
            lambda most: read.tail(name, most),
        )
    except OSError:
        whole = False
    return Finding(
        framework=framework,
        path=name,
        complete=whole is not False and entry.size_b > 0,
        single=True,
        step=step_of(name),
        mtime_ns=entry.mtime_ns,
        why="" if whole is not False else "its end is missing",
    )


def _file_framework(name: str) -> str:
    if name.endswith(".ckpt"):
        return "lightning"
    if is_torch_file(name):
        return "torch"
    if name.endswith(KERAS):
        return "keras"
    return "safetensors" if name.endswith(".safetensors") else ""


def _broken_file(unit: Tree, read: Reader) -> str:
    """Name the first file whose format says that its end is missing."""
    for name, entry in files_of(unit):
        whole = is_whole(
            name,
            entry.size_b,
            lambda most, name=name: read.head(name, most),
            lambda most, name=name: read.tail(name, most),
        )
        if whole is False:
            return f"the end of {name} is missing"
    return ""


def _ranks_whole(unit: Tree, world: int) -> bool:
    have = {int(found.group(1)) for name in unit if (found := RANK.match(name))}
    return have >= set(range(max(world, len(have), 1)))


Verdict = tuple[str, bool, bool]
"""Why it is incomplete ("" when complete), marked, exact."""


def _judge_hf(path: str, unit: Tree, read: Reader, world: int) -> Verdict:
    if SENTINEL in unit or base_of(path).startswith("tmp-"):
        return "its writer has not finished", False, False
    if "trainer_state.json" not in unit:
        return "no trainer_state.json", False, False
    why = _hf_state(path, unit, read) or _hf_weights(unit, read)
    if why:
        return why, False, False
    # Optimizer, scheduler and random state are saved together or, with save_only_model, not at all.
    others = [name for name in unit if name.startswith(("rng_state", "scheduler.pt", "scaler.pt"))]
    if not _has_optimizer(unit):
        return ("no optimizer", False, False) if others else ("", True, False)
    alone = "rng_state.pth" in unit
    if not alone and not _ranks_whole(unit, world):
        return "random state of a rank is missing", False, False
    return "", alone or world > 0, True


def _hf_state(path: str, unit: Tree, read: Reader) -> str:
    data = read.head("trainer_state.json", unit["trainer_state.json"].size_b)
    try:
        state = msgspec.json.decode(_finite(data), type=_TrainerState)
    except msgspec.DecodeError:
        return "trainer_state.json cannot be read"
    return "" if state.global_step == step_of(path) else "trainer_state.json is of another step"


class _TrainerState(msgspec.Struct):
    global_step: int


class _ShardIndex(msgspec.Struct):
    weight_map: dict[str, str]


def _finite(data: bytes) -> bytes:
    """Take out NaN and Infinity, which Python writes into JSON when a loss blows up and others refuse."""
    return re.sub(rb"(?<=[:\s\[,])(-?Infinity|NaN)(?=[\s,\]}])", b"0", data)


def _hf_weights(unit: Tree, read: Reader) -> str:
    for name, entry in files_of(unit):
        if not name.endswith(".index.json") or "/" in name:
            continue
        try:
            index = msgspec.json.decode(read.head(name, entry.size_b), type=_ShardIndex)
        except msgspec.DecodeError:
            return f"{name} cannot be read"
        if not set(index.weight_map.values()) <= set(unit):
            return f"a shard named by {name} is missing"
    if any(SHARD.search(name) for name in unit) and not any(
        n.endswith(".index.json") for n in unit
    ):
        return "the index of the shards is missing"
    for folder in ("pytorch_model_fsdp_0", "optimizer_0"):
        if folder in unit and f"{folder}/.metadata" not in unit:
            return f"{folder} has no .metadata"
    found = any(
        name.endswith(WEIGHTS) and name not in ("training_args.bin", "optimizer.bin")
        for name, _ in files_of(unit)
    )
    folders = any(name.startswith(("global_step", "pytorch_model_fsdp")) for name in unit)
    return "" if found or folders else "no weights"


def _has_optimizer(unit: Tree) -> bool:
    return any(
        name in ("optimizer.pt", "optimizer.bin", "optimizer_0/.metadata")
        or name.endswith(("_optim_states.pt", "-optimizer.pt"))
        for name in unit
    )


class _OurMark(msgspec.Struct):
    step: int
    files: dict[str, int]


def _judge_ours(path: str, unit: Tree, read: Reader, world: int) -> Verdict:
    del world
    if OURS_ASIDE.match(base_of(path)) or OURS_MARK not in unit:
        return "its writer has not finished", False, False
    try:
        mark = msgspec.json.decode(read.head(OURS_MARK, unit[OURS_MARK].size_b), type=_OurMark)
    except msgspec.DecodeError:
        return f"{OURS_MARK} cannot be read", False, False
    for name, size_b in mark.files.items():
        if name not in unit or unit[name].size_b != size_b:
            return f"{name} is not as long as {OURS_MARK} says", False, False
    return "", True, True


def _judge_dcp(path: str, unit: Tree, read: Reader, world: int) -> Verdict:
    del path, read, world
    if ".metadata" not in unit:
        return "no .metadata", False, False
    if not any(name.endswith(".distcp") for name in unit):
        return "no shards", False, False
    return "", True, True


def _judge_orbax(path: str, unit: Tree, read: Reader, world: int) -> Verdict:
    del world
    if ORBAX_TMP in base_of(path):
        return "its writer has not finished", False, False
    # Where a rename is no commit, the directory has its last name from the start, and only these tell.
    if "commit_success.txt" in unit or "_CHECKPOINT_METADATA" not in unit:
        return "", True, False
    data = read.head("_CHECKPOINT_METADATA", unit["_CHECKPOINT_METADATA"].size_b)
    try:
        metadata = msgspec.json.decode(data, type=_OrbaxMetadata)
    except msgspec.DecodeError:
        return "_CHECKPOINT_METADATA cannot be read", False, False
    begun = metadata.init_timestamp_nsecs and not metadata.commit_timestamp_nsecs
    return ("its writer has not finished", False, False) if begun else ("", True, False)


class _OrbaxMetadata(msgspec.Struct):
    init_timestamp_nsecs: int | None = None
    commit_timestamp_nsecs: int | None = None


def _judge_accelerate(path: str, unit: Tree, read: Reader, world: int) -> Verdict:
    del path, read
    if not any(name.startswith("optimizer") for name in unit):
        return "no optimizer", False, False
    if not _ranks_whole(unit, world):
        return "random state of a rank is missing", False, False
    return "", False, False


def _judge_deepspeed(path: str, unit: Tree, read: Reader, world: int) -> Verdict:
    del world
    if not any(name.endswith("_optim_states.pt") for name in unit):
        return "no optimizer", False, False
    try:
        latest = read.head("../latest", 200).decode(errors="replace").strip()
    except OSError:
        return "", False, False
    mine, newest = step_of(path), step_of(latest)
    named = latest == base_of(path) or (mine is not None and newest is not None and mine < newest)
    return "", named, False


_RULES = {
    "vaultlayer": _judge_ours,
    "hf": _judge_hf,
    "dcp": _judge_dcp,
    "orbax": _judge_orbax,
    "accelerate": _judge_accelerate,
    "deepspeed": _judge_deepspeed,
}
