"""The real ledger among several actors, over a log that fails on purpose, and a provider that acts late."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vaultlayer import events as ev
from vaultlayer.bus.memory import Fault, MemoryLog
from vaultlayer.fold import fold
from vaultlayer.ids import ActorId, CmdId, JobId
from vaultlayer.job import Job, Phase
from vaultlayer.ledger import Appended, Decide, Ledger
from vaultlayer.subjects import parse_event

T = TypeVar("T")

ACTORS = ("a", "b", "c")


class SkippingSelector(selectors.DefaultSelector):
    """Never waits: it books the time that was to be waited."""

    skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self.skipped_s += timeout
        return super().select(0 if timeout else timeout)


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose sleeps take no time."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return super().time() + self._skipping.skipped_s


class ContestedLog(MemoryLog):
    """A log on which a rival may get in between an actor's fold and its append."""

    def __init__(self) -> None:
        super().__init__()
        self.rival: Callable[[], Awaitable[object]] | None = None
        """Used up by the next append."""

    async def append(self, event: ev.Event, *, after: int) -> int:
        rival, self.rival = self.rival, None
        if rival is not None:
            await rival()
        return await super().append(event, after=after)


@dataclass
class Call:
    """A create that a pool process has under way."""

    attempt: int
    claim: str
    instance: str = ""


@dataclass
class World:
    """Everything outside the actors' memory: the log, the provider's machines, calls under way."""

    job_id: JobId
    runner: asyncio.Runner = field(
        default_factory=lambda: asyncio.Runner(loop_factory=SkippingLoop)
    )
    log: ContestedLog = field(default_factory=ContestedLog)
    ledgers: dict[str, Ledger] = field(default_factory=dict[str, Ledger])
    machines: dict[str, int] = field(default_factory=dict[str, int])
    """Instance → attempt, of all that run and are billed."""
    calls: list[Call] = field(default_factory=list[Call])
    now_s: float = 1_000.0
    made: int = 0
    commands: int = 0

    def __post_init__(self) -> None:
        for name in ACTORS:
            self.crash(name)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def crash(self, name: str) -> None:
        """An actor loses all that it held in memory."""
        self.ledgers[name] = Ledger(self.log, actor=ActorId(f"actor-{name}"), clock=self.tick)

    def tick(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def fresh_cmd(self) -> str:
        self.commands += 1
        return f"cmd{self.commands}"

    def append(self, name: str, decide: Decide, cmd_id: str = "", fault: str = "") -> Appended:
        """Append as one actor; `fault` is one of the log's, or `rival`."""
        if fault == "rival":
            rival = self.ledgers[ACTORS[(ACTORS.index(name) + 1) % len(ACTORS)]]
            between = CmdId(self.fresh_cmd())
            self.log.rival = lambda: rival.append(self.job_id, _drill, between)
        elif fault:
            self.log.faults.append(Fault(fault))
        done = self.run(
            self.ledgers[name].append(self.job_id, decide, CmdId(cmd_id or self.fresh_cmd()))
        )
        # Not every decision comes to an append.
        self.log.rival = None
        self.log.faults.clear()
        return done

    def read(self, name: str = "a") -> Job:
        job = self.run(self.ledgers[name].read(self.job_id))
        assert job is not None
        return job

    def entries(self) -> list[tuple[int, ev.Event]]:
        """The log itself, decoded by nobody's fold."""
        found: list[tuple[int, ev.Event]] = []
        for entry in self.run(self.log.read(self.job_id)):
            event = ev.decode(parse_event(entry.subject)[1], entry.payload)
            assert event is not None
            found.append((entry.seq, event))
        return found

    def refold(self) -> Job:
        """Fold the whole log from nothing, snapshots skipped over."""
        job: Job | None = None
        for seq, event in self.entries():
            job = fold(job, event, seq)
        assert job is not None
        return job


def _drill(job: Job | None) -> ev.Event | None:
    """Something harmless that anybody may append at any time."""
    return ev.DrillRequested(verb="kill") if job else None


# What the log itself must show, read without the fold -----------------------------------------------


def check_lineage(entries: Sequence[tuple[int, ev.Event]]) -> None:
    """No entry stands in the log that should not: guards refuse, the fold need not ignore."""
    active, over, last = 0, set[int](), dict[int, int]()
    chain: list[str] = []
    for _, event in entries:
        if isinstance(event, ev.Takeover):
            assert event.attempt > active, f"takeover of {event.attempt} after that of {active}"
            assert event.attempt not in over, f"takeover of {event.attempt}, which is over"
            head = chain[-1] if chain else ""
            assert event.resume_from == head, f"resumes {event.resume_from}, last is {head}"
            over |= set(range(1, event.attempt))
            active = event.attempt
        elif isinstance(event, ev.Lost | ev.Released | ev.Exited):
            over.add(event.attempt)
        elif isinstance(event, ev.CheckpointCommitted):
            assert event.attempt == active, f"{event.attempt} commits after takeover of {active}"
            assert event.attempt not in over, f"{event.attempt} commits, but is over"
            before = last.get(event.attempt, 0)
            assert event.seq > before, f"{event.seq} after {before} does not rise"
            last[event.attempt] = event.seq
            chain.append(event.manifest)
        elif isinstance(event, ev.CheckpointRejected):
            chain = [manifest for manifest in chain if manifest != event.manifest]


def check_commands(entries: Sequence[tuple[int, ev.Event]]) -> None:
    """A command has taken effect once, however often it was given."""
    given = [event.cmd_id for _, event in entries]
    assert len(given) == len(set(given)), "a command took effect twice"


def check_money(world: World, job: Job) -> None:
    """Every machine was claimed before it was made, and none that was called gone still runs."""
    claimed = {e.attempt for _, e in world.entries() if isinstance(e, ev.CreateClaimed)}
    assert set(world.machines.values()) <= claimed, "a machine that nobody claimed"
    for attempt in job.attempts.values():
        if attempt.phase is Phase.GONE and attempt.instance:
            assert attempt.instance not in world.machines, f"{attempt.number} is not gone"
