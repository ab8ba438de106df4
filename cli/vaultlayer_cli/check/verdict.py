"""What a check has found, in numbers and in words. Pure."""

import re

import msgspec

from vaultlayer_cli.check.trace import Tally
from vaultlayer_cli.units import duration_text, size_text

EXACT = "exact"
DIFFERS = "differs"
ZERO = "zero"
UNKNOWN = "unknown"

_VERIFIED = re.compile(r"(\d+) of (\d+) values equal")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check.

    `verdict`: `exact` (went on where it was, and every step compared left the same parameters), `differs`,
    `zero` (started again) or `unknown` (went on, and nothing could be compared).
    `steps`: the resumed steps compared with those before the kill. `recorded`: values that the script itself
    read, compared by ghost replay. `undisturbed`: steps of the job before the kill against the bare run.
    `killed_at_step` is 0 where nothing was killed, but a job's snapshot replayed here. `skipped_steps`: those
    that were not run again. `step_s`: a step as a job, without the
    snapshot's stall. `bare_spread`: the middle half of the bare steps, as a share of their median.
    """

    verdict: str
    tier: str
    detail: str
    fell: str = ""
    steps: Tally = Tally()
    recorded: Tally = Tally()
    undisturbed: Tally = Tally()
    killed_at_step: int = 0
    skipped_steps: int = 0
    bare_step_s: float = 0.0
    bare_spread: float = 0.0
    step_s: float = 0.0
    stall_s: float = 0.0
    snapshot_b: int = 0
    back_s: float = 0.0
    not_covered: list[str] = []

    @property
    def overhead(self) -> float | None:
        """What a step costs more, as a share of the bare one; None when it was not measured."""
        return self.step_s / self.bare_step_s - 1 if self.bare_step_s and self.step_s else None


def recorded_in(details: list[str]) -> Tally:
    """Read how many recorded values came again from what the tier says; the newest counts."""
    for detail in reversed(details):
        if found := _VERIFIED.search(detail):
            return Tally(equal=int(found[1]), of=int(found[2]))
    return Tally()


def judge(skipped: int | None, steps: Tally, recorded: Tally) -> str:
    """Give the verdict.

    Args:
        skipped: how many steps were not run again; None when nobody can tell.
        steps: what the witness compared.
        recorded: what ghost replay compared.
    """
    compared = [tally for tally in (steps, recorded) if tally.of]
    if skipped == 0:
        return ZERO
    if not compared:
        return UNKNOWN
    return EXACT if all(tally.is_all for tally in compared) else DIFFERS


def lines_of(found: Found) -> list[str]:
    """Give what a person reads."""
    lines = [f"tier {found.tier or '?'}: {found.detail}", _verdict_line(found)]
    if found.fell:
        lines.append(f"why: {found.fell}")
    if found.steps.of:
        lines.append(
            f"after the kill, {found.steps} steps left the parameters that they had left before"
        )
    if found.recorded.of:
        lines.append(f"of the values that the script itself read, {found.recorded} came again")
    if found.undisturbed.of:
        lines.append(_undisturbed_line(found.undisturbed))
    return [*lines, *_cost_lines(found), *(f"not covered: {one}" for one in found.not_covered)]


def _verdict_line(found: Found) -> str:
    if not found.killed_at_step:
        return {
            EXACT: f"EXACT: replayed to step {found.skipped_steps}, and went on as the job has done",
            DIFFERS: "NOT EXACT: the replay does not go on as the job has done",
        }.get(found.verdict, "NOT COMPARED: this machine cannot replay it")
    at = f"killed after step {found.killed_at_step}"
    again = max(0, found.killed_at_step - found.skipped_steps)
    return {
        EXACT: f"EXACT: {at}, went on after step {found.skipped_steps}; {again} steps were run again",
        DIFFERS: f"NOT EXACT: {at}, went on, but not with the same values",
        ZERO: f"FROM ZERO: {at}, and started again",
        UNKNOWN: f"NOT COMPARED: {at}, went on; its steps cannot be seen from outside",
    }[found.verdict]


def _undisturbed_line(tally: Tally) -> str:
    if tally.is_all:
        return f"recording changed nothing: {tally} steps equal to those of a bare run"
    return (
        f"two runs of this script differ ({tally} steps equal): it sets no seed, or computes differently "
        "each time; the comparison after the kill does not need that"
    )


def _cost_lines(found: Found) -> list[str]:
    lines: list[str] = []
    if (overhead := found.overhead) is not None:
        lines.append(
            f"a step takes {found.step_s * 1e3:.2f} ms, bare {found.bare_step_s * 1e3:.2f} ms "
            f"({overhead:+.1%}; here the bare steps themselves lie {found.bare_spread:.0%} apart)"
        )
    if found.snapshot_b:
        stall = f"a stall of {found.stall_s * 1e3:.0f} ms and " if found.stall_s else ""
        lines.append(f"a snapshot costs {stall}{size_text(found.snapshot_b)}")
    if found.back_s:
        lines.append(f"the first step came {duration_text(found.back_s)} after the kill")
    return lines


def not_covered(*, has_gpu: bool, ranks: int, saved_sooner: bool) -> list[str]:
    """Say what this check cannot know.

    Args:
        has_gpu: the script used one.
        ranks: how many processes trained.
        saved_sooner: its saves came more often than the script wants.
    """
    found = [
        "what the script does after these steps",
        "another machine: other cores, other versions",
    ]
    if not has_gpu:
        found.append("a GPU: its kernels may not give the same bits twice")
    if ranks == 1:
        found.append("several GPUs")
    if saved_sooner:
        found.append("the script's own interval between saves: here it saved sooner")
    return found
