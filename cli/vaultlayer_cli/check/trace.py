"""What the witness in a script wrote down: a time and a checksum a step; and how two runs compare. Pure."""

import statistics
import struct
from pathlib import Path

import msgspec

RECORD = struct.Struct("<QI")
"""Nanoseconds of the monotonic clock, and a CRC-32; as `probe/sitecustomize.py` writes it."""

WARM = 3
"""The first steps fill caches and are not timed."""

ALIGNED_BY = 3
LEAST_GAPS = 4
DISTINCT_LEAST = 2


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The optimizer steps of one process, oldest first; step 1 is at index 0."""

    at_ns: list[int] = []
    sums: list[int] = []

    @property
    def steps(self) -> int:
        """How many there were."""
        return len(self.sums)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """So many of so many were equal."""

    equal: int = 0
    of: int = 0

    @property
    def is_all(self) -> bool:
        """Whether there was something to compare, and all of it was equal."""
        return 0 < self.of == self.equal

    def __str__(self) -> str:
        return f"{self.equal} of {self.of}"


def decode(data: bytes) -> Trace:
    """Read a trace; half a record at the end, of a process that was killed, is left out."""
    whole = data[: len(data) // RECORD.size * RECORD.size]
    rows = list(RECORD.iter_unpack(whole))
    return Trace(at_ns=[at for at, _ in rows], sums=[sum_ for _, sum_ in rows])


def read_trace(directory: Path, run: str) -> Trace:
    """Give the newest trace of a run's first rank; an empty one when nothing has stepped.

    Args:
        directory: where the witness writes.
        run: `bare`, or an attempt's number.
    """
    found = [decode(path.read_bytes()) for path in directory.glob(f"{run}-0-*[0-9]")]
    return max(found, key=lambda trace: trace.at_ns[-1] if trace.at_ns else 0, default=Trace())


def ranks_in(directory: Path, run: str) -> int:
    """Count the ranks of a run."""
    return len({path.name.split("-")[1] for path in directory.glob(f"{run}-*-*")})


def devices_in(directory: Path) -> set[str]:
    """Give the kinds of devices on which parameters lay, such as `cpu` and `cuda`."""
    return {path.suffix[1:] for path in directory.iterdir() if path.suffix}


def place_in(later: Trace, earlier: Trace, hint: int | None) -> int | None:
    """Give how many steps of `earlier` come before the first of `later`; None when it is none of them.

    Args:
        later: the run after the kill.
        earlier: the run before it.
        hint: the step that it says to have gone on from; decides where sums repeat.
    """
    if not later.steps:
        return None
    first = later.sums[:ALIGNED_BY]
    found = [
        at
        for at in range(earlier.steps)
        if earlier.sums[at : at + ALIGNED_BY] == first[: earlier.steps - at]
    ] or [at for at in range(earlier.steps) if earlier.sums[at] == first[0]]
    return min(found, key=lambda at: abs(at - (hint or 0)), default=None)


def compare(later: Trace, earlier: Trace, at: int) -> Tally:
    """Compare step by step, the first of `later` with the one at index `at` of `earlier`.

    Sums that never change say nothing, and then nothing is compared.
    """
    if len(set(earlier.sums)) < DISTINCT_LEAST:
        return Tally()
    pairs = list(zip(later.sums, earlier.sums[at:], strict=False))
    return Tally(equal=sum(a == b for a, b in pairs), of=len(pairs))


def gaps_s(trace: Trace) -> list[float]:
    """Give the seconds from each step to the next."""
    return [(b - a) / 1e9 for a, b in zip(trace.at_ns, trace.at_ns[1:], strict=False)]


def spread(trace: Trace, before: int | None = None) -> float:
    """Give how far steps lie apart: the middle half of them, as a share of the median."""
    gaps = gaps_s(trace)[WARM:before]
    if len(gaps) < LEAST_GAPS:
        return 0.0
    quarter, middle, rest = statistics.quantiles(gaps, n=4)
    return (rest - quarter) / middle


def step_s(trace: Trace, before: int | None = None) -> float:
    """Give the seconds of a step: the quickest quarter of the warm ones up to step `before` take no longer.

    Other work on the machine makes steps longer and never shorter. 0.0 when too few are known.
    """
    gaps = gaps_s(trace)[WARM:before]
    return statistics.quantiles(gaps, n=4)[0] if len(gaps) >= LEAST_GAPS else 0.0


def stall_s(trace: Trace, step: int) -> float:
    """Give how much longer than usual the steps around a snapshot took, in seconds."""
    near = gaps_s(trace)[max(0, step - 2) : step + 1]
    return max(0.0, max(near, default=0.0) - step_s(trace, max(0, step - 2)))


def snapshot_steps(step_s: float, least: int, made: int, *, ended: bool, apart_s: float) -> int:
    """Choose after how many steps a check's snapshots come.

    Args:
        step_s: seconds of a step.
        least: as many as are to be compared.
        made: how many the bare run made.
        ended: that was all that the script does.
        apart_s: seconds that should lie between two.
    """
    wanted = max(least, int(apart_s / step_s) if step_s > 0 else 0)
    if ended:
        return max(1, min(wanted, made // 3))
    # Nobody knows how many more steps a script makes that was not seen to its end.
    return max(1, min(wanted, max(made // 2, least)) if made >= least else made)
