"""By which way a job goes on after an interruption, and which comes next when one fails. Pure.

Replay before the script's own checkpoints before zero; a replay that diverges is tried once more from the
snapshot before, and never again in this attempt. Replay and native resume are never used at once.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from vaultlayer.messages import CheckpointRef
from vaultlayer_agent.capture.eye import LEADING
from vaultlayer_agent.capture.snapshots import FRAMEWORK, NUMBER

replace = msgspec.structs.replace

GHOST_REF = "ghost_ref"
"""In a checkpoint's `meta`: the newest ghost checkpoint before it, that still holds; id, blank, key."""

REPLAYS_MOST = 2


class Kind(StrEnum):
    """How the script is started."""

    ZERO = "zero"
    NATIVE = "native"
    REPLAY = "replay"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way to go on.

    `source` is the checkpoint whose files are put into place, `number` the snapshot that is replayed to.
    `records`: a ghost is recorded, or replayed and then recorded on.
    """

    kind: Kind = Kind.ZERO
    source: CheckpointRef | None = None
    number: int = 0
    records: bool = True


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a job allows: `ghost` as the user wants it and hooks can do it, `resume_args` are given."""

    ghost: bool = True
    resume_args: bool = False


def choose_way(head: CheckpointRef, meta: Mapping[str, str], choice: Choice) -> Way:
    """Choose how to go on from the newest checkpoint.

    Args:
        head: the newest checkpoint.
        meta: what its manifest says.
        choice: what the job allows.
    """
    framework = meta.get("framework", "")
    if choice.ghost and framework == FRAMEWORK:
        return Way(kind=Kind.REPLAY, source=head, number=number_in(meta))
    if choice.ghost and framework != "hf" and (before := ref_in(meta)) is not None:
        return Way(kind=Kind.REPLAY, source=before)
    records = choice.ghost and framework not in LEADING and not choice.resume_args
    return Way(kind=Kind.NATIVE, source=head, records=records)


def next_way(
    failed: Way, replays: int, meta: Mapping[str, str], head: CheckpointRef, *, is_native: bool
) -> Way:
    """Choose what is tried after a replay that diverged.

    Args:
        failed: the way that failed.
        replays: how many replays this attempt has tried.
        meta: of the checkpoint that was replayed.
        head: the newest checkpoint of the job.
        is_native: that checkpoint holds something that the script may go on from by itself.
    """
    before = ref_in(meta)
    if before is not None and replays < REPLAYS_MOST and before != failed.source:
        return Way(kind=Kind.REPLAY, source=before)
    if is_native:
        return Way(kind=Kind.NATIVE, source=head, records=False)
    return Way()


def number_in(meta: Mapping[str, str]) -> int:
    """Give the number of the snapshot in a ghost checkpoint, 0 when it names none."""
    text = meta.get(NUMBER, "")
    return int(text) if text.isdecimal() else 0


def spell_ref(ref: CheckpointRef) -> dict[str, str]:
    """Spell where the newest ghost checkpoint lies, for the `meta` of those after it."""
    return {GHOST_REF: f"{ref.manifest} {ref.key}"}


def ref_in(meta: Mapping[str, str]) -> CheckpointRef | None:
    """Read what `spell_ref` has written; None when there is nothing."""
    identity, _, key = meta.get(GHOST_REF, "").partition(" ")
    return CheckpointRef(manifest=identity, key=key) if identity and key else None
