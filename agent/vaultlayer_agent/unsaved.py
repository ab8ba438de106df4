"""Says once, a while after the script's start, that an interruption would still cost all of its work."""

from collections.abc import Callable

import anyio
import msgspec

from vaultlayer_agent.capture import Capture
from vaultlayer_agent.ghost import Ghost, Phase
from vaultlayer_agent.progress import Tracker
from vaultlayer_agent.reports import Reports

TIER_WAIT_S = 60.0
"""A script that has saved nothing so long after its first step is told what that means."""

UNSAVED_S = 600.0
"""Longer than a first snapshot ever takes, and short against what a machine costs."""


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a script's saves.

    `ghost`: as it stands. `void`: why the newest snapshot came to nothing. `is_off`: none are wanted.
    `outside`: the `--output` directories that lie outside the working directory. `train`: the settings of the
    HF Trainer that runs, if any.
    """

    ghost: Ghost = Ghost()
    void: str = ""
    is_off: bool = False
    outside: tuple[str, ...] = ()
    train: dict[str, str] = {}


def unsaved_words(saving: Saving) -> str:
    """Say why nothing is safe yet, and how to mend it."""
    ghost = saving.ghost
    if saving.train.get("save_strategy", "no") != "no":
        every = saving.train.get("save_steps", "?")
        return f"the Trainer has not saved yet (save_steps is {every}): let it save more often"
    if ghost.phase is Phase.RECORDING:
        why = f", the last because {saving.void}" if saving.void else ""
        return (
            f"it is recorded, but no snapshot could be taken{why}: let it save and load by itself"
        )
    if saving.outside:
        return outside_words(saving.outside)
    if saving.is_off:
        return "snapshots are off: drop --snapshot-every off, or let it save and load by itself"
    if ghost.reason:
        return f"no snapshots ({ghost.reason}): let it save, and load what --resume-args names"
    return (
        "no optimizer step was seen in it: let it save, and load what --resume-args names; "
        "vaultlayer check tries that on your machine"
    )


def outside_words(outside: tuple[str, ...]) -> str:
    """Say what keeps a job from exact resume whose outputs lie elsewhere."""
    return (
        f"no snapshots, because --output {outside[0]} lies outside the working directory and a snapshot "
        "holds only what is in it: write below the working directory"
    )


async def tell_tier(tracker: Tracker, reports: Reports, capture: Capture) -> None:
    """Tell the tier of a script that has not saved anything a while after its first step."""
    await tracker.wait_first_step()
    await anyio.sleep(TIER_WAIT_S)
    if not reports.tier:
        reports.found_tier(*capture.tier())


async def tell_unsaved(
    is_saved: Callable[[], bool], tell: Callable[[str], None], *, after_s: float = UNSAVED_S
) -> None:
    """Wait, then tell once if nothing is saved by then.

    Args:
        is_saved: whether there is something that a restart could go on from.
        tell: takes how long the script has run, in words.
        after_s: from the script's start.
    """
    await anyio.sleep(after_s)
    if not is_saved():
        tell(f"NOTHING SAVED after {after_s / 60:.0f} min")
