"""The job log on a real nats-server: exact compare-and-swap, whole reads, changes told to one of a kind."""

import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import pytest

from buses import STREAMS, open_test_bus, ready_bus
from servers import NatsServer
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus import jetstream
from vaultlayer.bus.joblog import NatsJobLog
from vaultlayer.bus.nats import NatsBus
from vaultlayer.bus.protocol import AppendConflictError, Changed
from vaultlayer.errors import BrokerError
from vaultlayer.ids import ActorId, CmdId, JobId, slot_of
from vaultlayer.job import Job
from vaultlayer.ledger import SNAPSHOT_EVERY, Ledger

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

JOB = JobId("jabcdefghj")
SPEC = ev.JobSpec(command=["python", "train.py"])


def jobs_of_every_stream() -> list[JobId]:
    """Four jobs, one for each stream."""
    found: dict[int, JobId] = {}
    for letter in "abcdefghkmnpqrstvwxyz":
        job = JobId(f"j{letter * 9}")
        found.setdefault(int(slot_of(job), 16) % STREAMS, job)
    assert len(found) == STREAMS
    return list(found.values())


def cleared(job: JobId, cmd: str) -> ev.Event:
    return ev.Cleared(job=job, cmd_id=cmd)


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncGenerator[NatsBus]:
    async with ready_bus(nats_server) as ready:
        yield ready


@pytest.fixture
def log(bus: NatsBus) -> NatsJobLog:
    return bus.job_log(STREAMS)


async def test_of_eight_racing_appends_exactly_one_wins(
    nats_server: NatsServer, log: NatsJobLog
) -> None:
    head = 0
    async with open_test_bus(nats_server) as other:
        logs = [log, other.job_log(STREAMS)]
        for turn in range(25):
            won: list[int] = []
            lost: list[AppendConflictError] = []

            async def race(racer: int, turn: int = turn, after: int = head) -> None:
                try:
                    seq = await logs[racer % 2].append(cleared(JOB, f"{turn}-{racer}"), after=after)
                    won.append(seq)  # noqa: B023
                except AppendConflictError as error:
                    lost.append(error)  # noqa: B023

            async with anyio.create_task_group() as group:
                for racer in range(8):
                    group.start_soon(race, racer)
            assert (len(won), len(lost)) == (1, 7)
            assert won[0] > head
            head = won[0]
    assert len(await log.read(JOB)) == 25


async def test_jobs_of_one_stream_do_not_disturb_one_another(log: NatsJobLog) -> None:
    one, two = JOB, JobId("jzzzzzzzzz")
    stream = subjects.stream_of(one, STREAMS)
    two = next(
        job
        for job in (JobId(f"jzzzzzzz{a}{b}") for a in "abcdefgh" for b in "abcdefgh")
        if subjects.stream_of(job, STREAMS) == stream
    )
    first = await log.append(cleared(one, "a"), after=0)
    other = await log.append(cleared(two, "a"), after=0)
    with pytest.raises(AppendConflictError):
        await log.append(cleared(one, "b"), after=other)
    with pytest.raises(AppendConflictError):
        await log.append(cleared(one, "b"), after=0)
    assert await log.append(cleared(one, "b"), after=first) > other


async def test_every_entry_is_read_however_many_there_are(log: NatsJobLog) -> None:
    assert await log.read(JOB) == []
    seq, count = 0, 2 * jetstream.BATCH_MAX + 7
    for number in range(count):
        seq = await log.append(cleared(JOB, str(number)), after=seq)
        if number in {0, 1, jetstream.BATCH_MAX - 1, jetstream.BATCH_MAX}:
            assert len(await log.read(JOB)) == number + 1
    entries = await log.read(JOB)
    commands = [event.cmd_id for e in entries if (event := ev.decode("cleared", e.payload))]
    assert commands == [str(number) for number in range(count)]
    assert [e.seq for e in entries] == sorted({e.seq for e in entries})
    assert len(await log.read(JOB, after=entries[-4].seq)) == 3
    assert await log.read(JOB, after=seq) == []
    assert await log.read(JOB, after=seq + 1_000) == []


async def test_what_was_just_appended_is_read(nats_server: NatsServer, log: NatsJobLog) -> None:
    seq = 0
    async with open_test_bus(nats_server) as other:
        reader = other.job_log(STREAMS)
        for number in range(100):
            seq = await log.append(cleared(JOB, str(number)), after=seq)
            assert [e.seq for e in await reader.read(JOB, after=seq - 1)] == [seq]


async def test_a_read_that_lags_behind_what_is_known_is_repeated(
    nats_server: NatsServer, bus: NatsBus, log: NatsJobLog
) -> None:
    await log.append(cleared(JOB, "a"), after=0)
    # A replica that lags looks like this: an entry that we know of is not there yet.
    purge = {"filter": subjects.job_log(JOB)}
    stream = subjects.stream_of(JOB, STREAMS)
    await jetstream.call(bus.connection, f"STREAM.PURGE.{stream}", purge)
    read: list[int] = []
    seq = 0

    async def read_late() -> None:
        read.extend([entry.seq for entry in await log.read(JOB)])

    async with open_test_bus(nats_server) as other, anyio.create_task_group() as group:
        group.start_soon(read_late)
        await anyio.sleep(0.1)
        seq = await other.job_log(STREAMS).append(cleared(JOB, "b"), after=0)
    assert read == [seq]


async def test_jobs_are_listed_over_all_streams(log: NatsJobLog) -> None:
    jobs = jobs_of_every_stream()
    for job in jobs:
        seq = await log.append(ev.Submitted(job=job, cmd_id="c", spec=SPEC), after=0)
        await log.append(cleared(job, "d"), after=seq)
    assert await log.kinds() == {job: {"submitted", "cleared"} for job in jobs}


async def test_a_long_log_is_folded_from_its_snapshot(bus: NatsBus, log: NatsJobLog) -> None:
    ledger = Ledger(log, actor=ActorId("one"), clock=lambda: 1.0)

    def decide(job: Job | None) -> ev.Event:
        return ev.Cleared() if job else ev.Submitted(spec=SPEC)

    for number in range(SNAPSHOT_EVERY + 3):
        await ledger.append(JOB, decide, CmdId(f"c{number}"))
    snapshot = await log.last_snapshot(JOB)
    assert snapshot is not None
    fresh = bus.job_log(STREAMS)
    assert len(await fresh.read(JOB, after=snapshot.seq)) == 3
    state = await Ledger(fresh, actor=ActorId("two"), clock=lambda: 1.0).read(JOB)
    assert state is not None
    assert state == await ledger.read(JOB)
    assert state.entries == SNAPSHOT_EVERY + 3
    assert await log.last_snapshot(JobId("jzzzzzzzzz")) is None


async def test_changes_of_all_streams_come_to_one_process_of_each_kind(
    nats_server: NatsServer, log: NatsJobLog
) -> None:
    jobs = jobs_of_every_stream()
    heard: list[tuple[str, JobId, int]] = []
    expected: set[tuple[JobId, int]] = set()

    async def hear(name: str, changes: AsyncIterator[Changed]) -> None:
        async for change in changes:
            heard.append((name, change.job, change.seq))
            await change.done()

    async with (
        open_test_bus(nats_server) as other,
        log.changes("dispatcher") as mine,
        other.job_log(STREAMS).changes("dispatcher") as theirs,
        log.changes("fencer") as fencer,
        anyio.create_task_group() as group,
    ):
        for name, changes in (("mine", mine), ("theirs", theirs), ("fencer", fencer)):
            group.start_soon(hear, name, changes)
        await anyio.sleep(0.1)
        heads = dict.fromkeys(jobs, 0)
        for turn in range(25):
            for job in jobs:
                heads[job] = await log.append(cleared(job, str(turn)), after=heads[job])
                expected.add((job, heads[job]))
        with anyio.fail_after(10):
            while len(heard) < 2 * len(expected):
                await anyio.sleep(0.01)
        await anyio.sleep(0.1)
        group.cancel_scope.cancel()
    fencers = [(job, seq) for name, job, seq in heard if name == "fencer"]
    dispatchers = [(job, seq) for name, job, seq in heard if name != "fencer"]
    assert sorted(fencers) == sorted(expected)
    assert sorted(dispatchers) == sorted(expected)
    assert {name for name, _, _ in heard} == {"mine", "theirs", "fencer"}


async def take(changes: AsyncIterator[Changed], within_s: float = 5.0) -> Changed:
    with anyio.fail_after(within_s):
        return await anext(changes)


async def test_a_change_comes_again_when_it_was_put_off(log: NatsJobLog) -> None:
    async with log.changes("dispatcher") as changes:
        await log.append(cleared(JOB, "a"), after=0)
        change = await take(changes)
        began_s = time.monotonic()
        await change.later(0.3)
        again = await take(changes)
        assert (again.job, again.seq) == (change.job, change.seq)
        assert 0.25 < time.monotonic() - began_s < 2.0
        await again.done()
        with anyio.move_on_after(0.3) as quiet:
            await anext(changes)
        assert quiet.cancelled_caught


async def test_changes_while_nobody_listens_are_told_to_the_next(log: NatsJobLog) -> None:
    before = await log.append(cleared(JOB, "before"), after=0)
    async with log.changes("dispatcher"):
        pass
    after = await log.append(cleared(JOB, "after"), after=before)
    async with log.changes("dispatcher") as changes:
        change = await take(changes)
        assert change.seq == after, "what is older than the kind is not told"
        await change.done()


async def test_a_consumer_that_was_lost_goes_on_where_it_was(bus: NatsBus, log: NatsJobLog) -> None:
    stream = subjects.stream_of(JOB, STREAMS)
    async with log.changes("dispatcher") as changes:
        seq = await log.append(cleared(JOB, "a"), after=0)
        await (await take(changes)).done()
        await jetstream.call(bus.connection, f"CONSUMER.DELETE.{stream}.dispatcher")
        seq = await log.append(cleared(JOB, "b"), after=seq)
        assert (await take(changes)).seq == seq


async def test_a_missing_stream_is_told_when_listening_begins(nats_server: NatsServer) -> None:
    async with open_test_bus(nats_server) as bus:
        with pytest.raises(BrokerError):
            async with bus.job_log(STREAMS).changes("dispatcher"):
                pass


async def test_a_change_is_heard_within_milliseconds(log: NatsJobLog) -> None:
    took_s: list[float] = []
    async with log.changes("dispatcher") as changes:
        seq = 0
        for number in range(60):
            began_s = time.perf_counter()
            async with anyio.create_task_group() as group:

                async def hear(began_s: float = began_s) -> None:
                    change = await take(changes)
                    took_s.append(time.perf_counter() - began_s)
                    await change.done()

                group.start_soon(hear)
                seq = await log.append(cleared(JOB, str(number)), after=seq)
    assert statistics.median(took_s) < 0.02
