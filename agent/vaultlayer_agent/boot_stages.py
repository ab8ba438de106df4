"""How long each part of a machine's first minute took, as the bootstrap has written it down.

The bootstrap appends one JSON object a line to `boot-stages.jsonl`: `stage`, `detail`, `at` in whole Unix
seconds. A line that was cut off by a full disk is left out; the boot is no less true for it.
"""

from pathlib import Path

import msgspec

FILE_NAME = "boot-stages.jsonl"


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the bootstrap's."""

    stage: str
    detail: str = ""
    at: float = 0.0


def read_stages(state: Path) -> list[Stage]:
    """Give what the bootstrap has come through; empty on a machine that had none."""
    try:
        lines = (state / FILE_NAME).read_bytes().splitlines()
    except OSError:
        return []
    stages: list[Stage] = []
    for line in lines:
        try:
            stages.append(msgspec.json.decode(line, type=Stage))
        except msgspec.MsgspecError:
            continue
    return stages


def stage_times(stages: list[Stage], started_at: float) -> dict[str, float]:
    """Give seconds from each stage to the one after it.

    Args:
        stages: in the order of the file.
        started_at: when the agent started, Unix seconds; it ends the last stage.
    """
    ends = [stage.at for stage in stages[1:]] + [started_at]
    times: dict[str, float] = {}
    for stage, end in zip(stages, ends, strict=False):
        # The clock of a machine that has just booted is often set right in the middle of this.
        times[stage.stage] = times.get(stage.stage, 0.0) + max(0.0, round(end - stage.at, 3))
    return times
