"""The ledger over a log in memory: conflicts, unknown outcomes, repeated commands, snapshots, strangers."""

from collections.abc import Callable, Sequence

import anyio
import pytest

from vaultlayer import events as ev
from vaultlayer import ledger as ledger_module
from vaultlayer import subjects
from vaultlayer.bus.memory import Fault, MemoryLog
from vaultlayer.bus.protocol import AppendConflictError, Entry
from vaultlayer.errors import BrokerDownError, BusTimeoutError, ErrorBody
from vaultlayer.ids import ActorId, CmdId, JobId
from vaultlayer.job import Job
from vaultlayer.ledger import SNAPSHOT_EVERY, Ledger

JOB = JobId("jabcdefghj")
SPEC = ev.JobSpec(command=["python", "train.py"])

pytestmark = pytest.mark.anyio


def ledger_on(log: MemoryLog, name: str = "one") -> Ledger:
    return Ledger(log, actor=ActorId(name), clock=lambda: 1_000.0)


def submit(job: Job | None) -> ev.Event | None:
    return ev.Submitted(spec=SPEC) if job is None else None


def always(_job: Job | None) -> ev.Event:
    return ev.CancelRequested(by="somebody")


def kinds(log: MemoryLog) -> list[str]:
    return [subjects.parse_event(entry.subject)[1] for entry in log.entries]


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ledger's pauses take no time."""

    async def at_once(_delay_s: float) -> None:
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(ledger_module.anyio, "sleep", at_once)


async def test_an_entry_is_stamped_by_the_ledger() -> None:
    log = MemoryLog()
    appended = await ledger_on(log, "dispatcher-7").append(JOB, submit, CmdId("c1"))
    event = ev.decode("submitted", log.entries[0].payload)
    assert event is not None
    assert (event.job, event.cmd_id, event.actor, event.at) == (JOB, "c1", "dispatcher-7", 1_000.0)
    assert appended.event == event
    assert appended.job is not None
    assert appended.job.seq == 1


async def test_a_refusal_and_nothing_to_do_append_nothing() -> None:
    log = MemoryLog()
    ledger = ledger_on(log)
    body = ErrorBody(code="refused", what="no")
    assert (await ledger.append(JOB, lambda _: body, CmdId("c1"))).refused == body
    assert (await ledger.append(JOB, lambda _: None, CmdId("c2"))).event is None
    assert log.entries == []


async def test_a_repeated_command_takes_effect_once_whoever_repeats_it() -> None:
    log = MemoryLog()
    await ledger_on(log).append(JOB, submit, CmdId("c1"))
    await ledger_on(log).append(JOB, always, CmdId("c2"))
    for again in (ledger_on(log, "two"), ledger_on(log, "three")):
        assert (await again.append(JOB, always, CmdId("c2"))).event is None
    assert kinds(log) == ["submitted", "cancel_requested"]


async def test_after_a_conflict_the_newest_state_is_decided_upon() -> None:
    log = MemoryLog()
    one, two = ledger_on(log, "one"), ledger_on(log, "two")
    await one.append(JOB, submit, CmdId("c1"))
    seen: list[int] = []

    def decide(job: Job | None) -> ev.Event | None:
        assert job is not None
        seen.append(job.seq)
        if len(seen) == 1:
            # Another process gets in between this decision and its append.
            log.store(ev.CancelRequested(job=JOB, cmd_id="rival", at=2.0), after=job.seq)
        return None if job.cancel_requested_at else ev.CancelRequested()

    appended = await two.append(JOB, decide, CmdId("c2"))
    assert seen == [1, 2]
    assert appended.event is None
    assert kinds(log) == ["submitted", "cancel_requested"]


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.NONE])
async def test_whatever_becomes_of_an_append_the_command_takes_effect_once(fault: Fault) -> None:
    log = MemoryLog()
    ledger = ledger_on(log)
    await ledger.append(JOB, submit, CmdId("c1"))
    log.faults.append(fault)
    appended = await ledger.append(JOB, always, CmdId("c2"))
    late = log.deliver_delayed()
    assert late == 0
    assert appended.job is not None
    assert appended.job.cancel_requested_at
    assert kinds(log) == ["submitted", "cancel_requested"]
    assert await ledger_on(log, "two").read(JOB) == await ledger.read(JOB)


@pytest.mark.usefixtures("no_waiting")
async def test_an_append_that_arrives_after_a_rivals_changes_nothing() -> None:
    log = MemoryLog()
    ledger = ledger_on(log)
    await ledger.append(JOB, submit, CmdId("c1"))
    log.faults.append(Fault.DELAYED)
    with pytest.raises(BusTimeoutError):
        await log.append(ev.CancelRequested(job=JOB, cmd_id="c2"), after=1)
    await ledger.append(JOB, always, CmdId("c3"))
    assert log.deliver_delayed() == 0
    assert len(log.entries) == 2


@pytest.mark.usefixtures("no_waiting")
async def test_an_outcome_that_stays_unknown_is_told_and_may_be_asked_again() -> None:
    log = MemoryLog()
    ledger = ledger_on(log)
    log.faults.extend([Fault.NOT_STORED] * 100)
    with pytest.raises(BusTimeoutError) as caught:
        await ledger.append(JOB, submit, CmdId("c1"))
    assert caught.value.retryable
    assert len(log.faults) > 80, "the tries are bounded"
    log.faults.clear()
    await ledger.append(JOB, submit, CmdId("c1"))
    assert kinds(log) == ["submitted"]


class DeafLog(MemoryLog):
    """Loses the answer of an append and then cannot be read for a while."""

    refusals = 0

    async def read(self, job: JobId, *, after: int = 0) -> Sequence[Entry]:
        if self.refusals:
            self.refusals -= 1
            raise BrokerDownError("there is no connection to the bus")
        return await super().read(job, after=after)

    async def append(self, event: ev.Event, *, after: int) -> int:
        try:
            return await super().append(event, after=after)
        except BusTimeoutError:
            self.refusals = 3
            raise


@pytest.mark.usefixtures("no_waiting")
async def test_a_log_that_cannot_be_read_does_not_turn_unknown_into_failed() -> None:
    log = DeafLog()
    ledger = ledger_on(log)
    log.faults.append(Fault.ACK_LOST)
    appended = await ledger.append(JOB, submit, CmdId("c1"))
    assert appended.job is not None
    assert kinds(log) == ["submitted"]


async def test_a_log_that_cannot_be_read_at_all_fails_at_once() -> None:
    log = DeafLog()
    log.refusals = 1
    with pytest.raises(BrokerDownError):
        await ledger_on(log).append(JOB, submit, CmdId("c1"))


async def test_many_at_once_append_each_once() -> None:
    log = MemoryLog()
    await ledger_on(log).append(JOB, submit, CmdId("c0"))
    ledgers = [ledger_on(log, f"actor{n}") for n in range(8)]

    async def run(ledger: Ledger, own: int) -> None:
        for turn in range(5):
            await ledger.append(JOB, always, CmdId(f"{own}-{turn}"))
            await ledger.append(JOB, always, CmdId(f"shared-{turn}"))

    async with anyio.create_task_group() as group:
        for number, ledger in enumerate(ledgers):
            group.start_soon(run, ledger, number)
    commands = [
        event.cmd_id
        for entry in log.entries
        if (event := ev.decode(subjects.parse_event(entry.subject)[1], entry.payload))
    ]
    assert len(commands) == len(set(commands)) == 1 + 8 * 5 + 5


async def test_a_fold_of_a_long_log_starts_at_its_snapshot() -> None:
    log = MemoryLog()
    ledger = ledger_on(log)
    await ledger.append(JOB, submit, CmdId("c0"))
    for number in range(1, SNAPSHOT_EVERY + 5):
        await ledger.append(JOB, always, CmdId(f"c{number}"))
    assert kinds(log).count("snapshot") == 1
    log.reads = 0
    fresh = await ledger_on(log, "two").read(JOB)
    assert log.reads < 10
    assert fresh == await ledger.read(JOB)
    assert (await ledger_on(log, "three").append(JOB, always, CmdId("c3"))).event is None


async def test_a_lost_snapshot_costs_nothing() -> None:
    log = MemoryLog()
    ledger = ledger_on(log)
    await ledger.append(JOB, submit, CmdId("c0"))
    for number in range(1, SNAPSHOT_EVERY - 1):
        await ledger.append(JOB, always, CmdId(f"c{number}"))
    log.faults.extend([Fault.NONE, Fault.NOT_STORED])
    await ledger.append(JOB, always, CmdId("last"))
    assert "snapshot" not in kinds(log)
    await ledger.append(JOB, always, CmdId("next"))
    assert await ledger_on(log, "two").read(JOB) == await ledger.read(JOB)


async def test_an_entry_of_a_later_version_is_passed_over_and_appended_behind() -> None:
    log = MemoryLog()
    ledger = ledger_on(log)
    await ledger.append(JOB, submit, CmdId("c1"))
    log.store_bytes(JOB, "telepathy_used", b'{"type":"telepathy_used"}')
    appended = await ledger.append(JOB, always, CmdId("c2"))
    assert appended.job is not None
    assert appended.job.seq == 3
    assert appended.job.cancel_requested_at


async def test_an_entry_that_cannot_be_read_does_not_stop_the_job() -> None:
    log = MemoryLog()
    ledger = ledger_on(log)
    await ledger.append(JOB, submit, CmdId("c1"))
    for kind, payload in (("finished", b"{}"), ("lost", b"not json"), ("snapshot", b'{"type":1}')):
        log.entries.append(Entry(len(log.entries) + 1, subjects.event(JOB, kind), payload))
    appended = await ledger_on(log, "two").append(JOB, always, CmdId("c2"))
    assert appended.job is not None
    assert appended.job.cancel_requested_at
    assert not appended.job.outcome


async def test_only_submitted_jobs_that_are_not_closed_are_open() -> None:
    log = MemoryLog()
    ledger = ledger_on(log)
    other = JobId("jzzzzzzzzz")
    await ledger.append(JOB, submit, CmdId("c1"))
    await ledger.append(other, submit, CmdId("c1"))
    await ledger.append(other, lambda _: ev.Closed(), CmdId("c2"))
    assert await ledger.open_jobs() == [JOB]
    assert await ledger.all_jobs() == [JOB, other]
    assert await ledger.read(JobId("jnobody234")) is None


async def test_appending_after_anything_but_the_newest_entry_is_refused() -> None:
    log = MemoryLog()
    make: Callable[[str], ev.Event] = lambda cmd: ev.CancelRequested(job=JOB, cmd_id=cmd)  # noqa: E731
    assert await log.append(make("a"), after=0) == 1
    for after in (0, 2, 7):
        with pytest.raises(AppendConflictError):
            await log.append(make("b"), after=after)
    assert await log.append(make("b"), after=1) == 2


async def test_processes_of_one_kind_share_the_changes_and_get_back_what_one_dropped() -> None:
    log = MemoryLog()
    async with log.changes("fencer") as other:
        async with log.changes("dispatcher") as first, log.changes("dispatcher") as second:
            for number in range(3):
                await log.append(ev.Cleared(job=JOB, cmd_id=str(number)), after=number)
            one, two = await anext(first), await anext(second)
            assert [one.seq, two.seq] == [1, 2]
            await one.done()
            await two.later(0.0)
            three = await anext(first)
            again = await anext(second)
            assert {three.seq, again.seq} == {2, 3}
        async with log.changes("dispatcher") as third:
            assert {(await anext(third)).seq, (await anext(third)).seq} == {2, 3}
        assert [(await anext(other)).seq for _ in range(3)] == [1, 2, 3]


class SlowLog(MemoryLog):
    """Its next read is under way while others come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.slow: anyio.Event | None = None

    async def read(self, job: JobId, *, after: int = 0) -> Sequence[Entry]:
        found = await super().read(job, after=after)
        slow, self.slow = self.slow, None
        if slow is not None:
            await slow.wait()
        return found


async def test_an_old_read_that_comes_in_last_does_not_take_the_fold_back() -> None:
    log = SlowLog()
    ledger = ledger_on(log)
    await ledger.append(JOB, submit, CmdId("c1"))
    go_on = log.slow = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(ledger.read, JOB)
        await anyio.wait_all_tasks_blocked()
        await ledger.append(JOB, always, CmdId("c2"))
        go_on.set()
    known = ledger.peek(JOB)
    assert known is not None
    assert known.seq == 2
