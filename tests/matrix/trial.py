"""One script through the real product: its machine is killed twice, its end compared with a bare run's.

Exactness is read together with the steps that ran again: a seeded script that starts at zero ends equal too.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from matrix.compare import COLUMNS, LOGS, METRICS, compare
from matrix.place import Events, Place
from matrix.rows import Row

KILLS = 2
WAIT_S = (0.2, 1.6)
TRIAL_S = 420.0
VERIFIED = re.compile(r"\d+ of \d+")
EXACT_TIERS = frozenset("AB")


class Kill(msgspec.Struct):
    """A death of the machine, and what the next one made of it."""

    attempt: int
    after_s: float
    """Seconds from the newest commit to the kill."""
    durable_step: int | None = None
    last_step: int | None = None
    """The last step that it had made, by the ghost's own disk; without a ghost, the last one told."""
    resumed_step: int | None = None
    first_step: int | None = None


class Result(msgspec.Struct):
    """What one row of the table shows, and why it fails when it does."""

    name: str
    holds: str
    tier: str = ""
    tier_detail: str = ""
    columns: dict[str, str] = {}
    kills: list[Kill] = []
    verified: list[str] = []
    """`N of N` as told after each restart."""
    told: list[str] = []
    """Every tier that the job's log told of, with its reason, in order."""
    problems: list[str] = []


class Trial:
    """One row in one place."""

    def __init__(self, place: Place, row: Row, seed: int) -> None:
        self._place, self._row = place, row
        self._dice = random.Random(f"{row.name} {seed}")
        self._copies: list[Path] = []
        self._attempts: dict[int, dict[str, Any]] = {}
        self.result = Result(row.name, row.holds, kills=[])

    def run(self, bare: Callable[[], Path]) -> Result:
        """Run it to its end; `bare` waits for the bare run and gives its directory."""
        job = self._place.submit_row(self._row)
        events = Events(self._place, job)
        try:
            for entry in events.follow(TRIAL_S):
                self._note(entry)
                if self._is_time(entry):
                    self._kill(entry)
        finally:
            events.close()
        state = self._place.finish(job)
        self.result.tier = str(state.get("tier", ""))
        self.result.tier_detail = str(state.get("tier_detail", ""))
        self._fill_kills()
        if state["outcome"] != "succeeded":
            self.result.problems.append(f"the job {state['outcome']}: {state.get('reason', '')}")
        else:
            self._judge(bare, self._place.pull(job))
        return self.result

    # What the log says -----------------------------------------------------------------------------

    def _note(self, entry: dict[str, Any]) -> None:
        facts = self._attempts.setdefault(int(entry.get("attempt", 0)), {})
        kind = entry["type"]
        if kind == "created":
            facts["instance"] = entry["instance"]
        elif kind == "ordered":
            facts["work"] = Path(entry["work_path"])
        elif kind == "started":
            facts["resumed_step"] = entry.get("resumed_step")
        elif kind == "stepped":
            facts["first_step"] = entry.get("step")
        elif kind == "progress" and entry.get("step") is not None:
            facts["last_step"] = entry["step"]
        elif kind == "checkpoint_committed":
            facts["durable_step"] = entry.get("step")
        elif kind == "tier_found":
            self._note_tier(entry["tier"], str(entry.get("detail", "")))

    def _note_tier(self, tier: str, detail: str) -> None:
        self.result.told.append(f"{tier}: {detail}".replace(str(self._place.base), "…"))
        if found := VERIFIED.search(detail):
            self.result.verified.append(found[0])

    def _is_time(self, entry: dict[str, Any]) -> bool:
        killed = {kill.attempt for kill in self.result.kills}
        return (
            entry["type"] == "checkpoint_committed"
            and not entry.get("final")
            and len(killed) < KILLS
            and entry["attempt"] not in killed
        )

    def _kill(self, entry: dict[str, Any]) -> None:
        number = int(entry["attempt"])
        facts = self._attempts[number]
        after_s = self._dice.uniform(*WAIT_S)
        time.sleep(after_s)
        copy = self._place.base / "copies" / self._row.name / str(number)
        copy.mkdir(parents=True, exist_ok=True)
        death = self._place.take_away(facts["instance"], facts["work"], copy)
        if death.processes:
            facts["reached_step"] = death.reached_step
            self._copies.append(copy)
            self.result.kills.append(Kill(number, round(after_s, 2)))

    def _fill_kills(self) -> None:
        for kill in self.result.kills:
            facts = self._attempts[kill.attempt]
            reached = facts.get("reached_step")
            kill.durable_step = facts.get("durable_step")
            kill.last_step = facts.get("last_step") if reached is None else reached
            later = [
                n for n, f in self._attempts.items() if n > kill.attempt and "resumed_step" in f
            ]
            if later:
                heir = self._attempts[min(later)]
                kill.resumed_step, kill.first_step = heir["resumed_step"], heir.get("first_step")

    # What it means ---------------------------------------------------------------------------------

    def _judge(self, bare: Callable[[], Path], pulled: Path) -> None:
        result, row = self.result, self._row
        if len(result.kills) < KILLS:
            result.problems.append(f"killed {len(result.kills)} times only: it ended too soon")
        if result.tier not in row.tiers:
            result.problems.append(f"resumed as tier {result.tier or '?'}, not {row.tiers}")
        if row.seeded:
            found = compare(bare(), pulled, row.ignored)
            result.columns = {column: found.verdict(column) for column in COLUMNS}
            wrong = [f"{d.column}: {d.file} {d.at}: {d.detail}" for d in found.differences]
        else:
            wrong = list(self._unlike_the_dead(pulled))
            result.columns = dict.fromkeys(("metrics", "logs"), "differs" if wrong else "identical")
        if result.tier in EXACT_TIERS:
            result.problems += wrong[:3]
            result.problems += list(self._not_skipped())

    def _not_skipped(self) -> Iterator[str]:
        for kill in self.result.kills:
            if not kill.resumed_step:
                fell = [told for told in self.result.told if "diverged" in told]
                yield f"attempt after {kill.attempt} restarted at zero: {fell[-1:] or 'untold'}"
            elif kill.durable_step is not None and kill.resumed_step < kill.durable_step:
                yield f"step {kill.durable_step} was durable, {kill.resumed_step} was resumed"

    def _unlike_the_dead(self, pulled: Path) -> Iterator[str]:
        """Each whole line that a dead machine had written must stand in the end where it stood."""
        for copy, kill in zip(self._copies, self.result.kills, strict=True):
            for path in sorted(copy.rglob("*")):
                if not path.is_file() or path.suffix not in LOGS | METRICS:
                    continue
                name = path.relative_to(copy)
                lines = path.read_bytes().split(b"\n")[:-1]
                lines = lines[: kill.resumed_step or 0] if self._row.clock else lines
                last = (
                    (pulled / name).read_bytes().split(b"\n") if (pulled / name).is_file() else []
                )
                if last[: len(lines)] != lines:
                    same = next(
                        (i for i, (a, b) in enumerate(zip(lines, last, strict=False)) if a != b), 0
                    )
                    yield f"{name}: line {same + 1} of attempt {kill.attempt} did not come again"
