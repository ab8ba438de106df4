"""The bus when server or network fail: nothing acknowledged is lost, done twice, or sent late."""

import time
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from buses import STREAMS, Wire, open_test_bus, ready_bus, until
from servers import NatsServer, free_ports, running_nats
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus import changes as changes_module
from vaultlayer.bus import jetstream
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.protocol import AppendConflictError
from vaultlayer.errors import BrokerDownError, BrokerError, BusTimeoutError
from vaultlayer.ids import ActorId, Attempt, CmdId, JobId
from vaultlayer.job import Job
from vaultlayer.ledger import Ledger
from vaultlayer.messages import Done, LogChunk

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

JOB = JobId("jabcdefghj")
SPEC = ev.JobSpec(command=["python", "train.py"])


def cleared(cmd: str) -> ev.Event:
    return ev.Cleared(job=JOB, cmd_id=cmd)


def submit_or_clear(job: Job | None) -> ev.Event:
    return ev.Cleared() if job else ev.Submitted(spec=SPEC)


def ledger_on(bus: NatsBus, name: str = "one") -> Ledger:
    return Ledger(bus.job_log(STREAMS), actor=ActorId(name), clock=time.time)


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncGenerator[NatsBus]:
    async with ready_bus(nats_server) as ready:
        yield ready


async def commands(bus: NatsBus) -> list[str]:
    """The command ids in the log, oldest first."""
    entries = await bus.job_log(STREAMS).read(JOB)
    events = [ev.decode(entry.subject.rpartition(".")[2], entry.payload) for entry in entries]
    return [event.cmd_id for event in events if event]


async def test_an_append_whose_answer_was_lost_is_found_and_not_repeated(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    wire = Wire(nats_server)
    async with wire.running(), open_test_bus(nats_server, url=wire.url) as cut:
        ledger = ledger_on(cut)
        await ledger.append(JOB, submit_or_clear, CmdId("c0"))
        wire.trigger = b'"cmd_id":"c1"'
        appended = await ledger.append(JOB, submit_or_clear, CmdId("c1"))
        assert wire.cuts == 1
        assert appended.job is not None
        assert "c1" in appended.job.seen
        await ledger.append(JOB, submit_or_clear, CmdId("c2"))
        assert cut.is_connected
    assert await commands(bus) == ["c0", "c1", "c2"]


async def test_an_append_that_meets_its_own_lost_self_is_a_conflict(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    wire = Wire(nats_server, trigger=b'"cmd_id":"c1"')
    async with wire.running(), open_test_bus(nats_server, url=wire.url) as cut:
        log = cut.job_log(STREAMS)
        with pytest.raises(BusTimeoutError):
            await log.append(cleared("c1"), after=0)
        await until(lambda: cut.is_connected)
        with pytest.raises(AppendConflictError):
            await log.append(cleared("c1"), after=0)
    assert await commands(bus) == ["c1"]


async def test_an_append_to_a_frozen_server_is_unknown_and_asking_again_is_safe(
    nats_server: NatsServer, bus: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ledger_on(bus)
    await ledger.append(JOB, submit_or_clear, CmdId("c0"))
    monkeypatch.setattr(jetstream, "API_S_MAX", 0.3)
    nats_server.freeze()
    try:
        with pytest.raises(BusTimeoutError):
            await bus.job_log(STREAMS).append(cleared("c1"), after=1)
        with pytest.raises(BusTimeoutError):
            await ledger.append(JOB, submit_or_clear, CmdId("c1"))
    finally:
        nats_server.thaw()
    appended = await ledger.append(JOB, submit_or_clear, CmdId("c1"))
    assert appended.event is None
    assert await commands(bus) == ["c0", "c1"]


async def test_what_was_acknowledged_survives_the_servers_death(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    ledger = ledger_on(bus)
    acknowledged: list[str] = []
    stop = False

    async def write() -> None:
        while not stop:
            command = f"c{len(acknowledged)}"
            try:
                await ledger.append(JOB, submit_or_clear, CmdId(command))
            except BrokerError:
                await anyio.sleep(0.01)
                continue
            acknowledged.append(command)

    async with anyio.create_task_group() as group:
        group.start_soon(write)
        for _ in range(3):
            enough = len(acknowledged) + 50
            await until(lambda enough=enough: len(acknowledged) > enough, within_s=20)
            await anyio.to_thread.run_sync(nats_server.restart)
        enough = len(acknowledged) + 5
        await until(lambda: len(acknowledged) > enough, within_s=20)
        stop = True
    assert await commands(bus) == acknowledged


async def test_nothing_is_sent_late_that_was_refused_while_the_server_was_down(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    log = bus.job_log(STREAMS)
    await log.append(cleared("c0"), after=0)
    async with bus.subscribe("test.late") as late:
        nats_server.kill()
        await until(lambda: not bus.is_connected)
        began_s = time.monotonic()
        for attempt in (
            lambda: bus.publish("test.late", Done()),
            lambda: bus.request("test.late", Done(), Done),
            lambda: bus.gather("test.late", Done(), Done, wait_s=5),
            lambda: log.append(cleared("c1"), after=1),
            lambda: log.read(JOB),
        ):
            with pytest.raises(BrokerDownError) as caught:
                await attempt()
            assert caught.value.retryable
        assert time.monotonic() - began_s < 1.0
        await anyio.to_thread.run_sync(nats_server.start)
        await until(lambda: bus.is_connected)
        await bus.publish("test.late", Done())
        with anyio.fail_after(5):
            await anext(late)
        with anyio.move_on_after(0.2) as quiet:
            await anext(late)
        assert quiet.cancelled_caught
    assert await commands(bus) == ["c0"]


async def test_a_request_under_way_fails_when_the_server_dies_and_not_later(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    asked = anyio.Event()

    async def silent(_subject: str, _payload: bytes) -> None:
        asked.set()

    async def kill() -> None:
        await asked.wait()
        nats_server.kill()

    began_s = time.monotonic()
    async with bus.serve("test.silent", silent), anyio.create_task_group() as group:
        group.start_soon(kill)
        with pytest.raises(BusTimeoutError):
            await bus.request("test.silent", Done(), Done, timeout_s=30.0)
    assert time.monotonic() - began_s < 5.0


async def test_services_live_messages_and_changes_go_on_after_the_servers_death(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    log = bus.job_log(STREAMS)
    reconnects: list[float] = []
    bus.on_reconnect(lambda: reconnects.append(time.monotonic()))

    async def serve(_subject: str, _payload: bytes) -> Done:
        return Done()

    async with (
        log.changes("dispatcher") as changes,
        bus.serve("test.service", serve),
        bus.subscribe("vl.live.>") as live,
    ):
        seq = 0
        for turn in range(3):
            await anyio.to_thread.run_sync(nats_server.restart)
            await until(lambda turn=turn: len(reconnects) == turn + 1)
            ledger = ledger_on(bus, f"turn{turn}")
            appended = await ledger.append(JOB, submit_or_clear, CmdId(f"c{turn}"))
            began_s = time.monotonic()
            assert appended.job is not None
            seq = appended.job.seq
            with anyio.fail_after(5):
                while True:
                    change = await anext(changes)
                    await change.done()
                    if change.seq == seq:
                        break
                assert (await anext(live)).seq == seq
            assert time.monotonic() - began_s < 2.0
            await bus.request("test.service", Done(), Done)


async def test_a_change_that_came_while_the_server_was_away_is_heard(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    async with bus.job_log(STREAMS).changes("dispatcher") as changes:
        nats_server.restart()
        # Another process is connected again before the listener is.
        async with open_test_bus(nats_server) as other:
            seq = await ledger_append(other)
        # Much sooner than any deadline of a call: nothing waits for the answers of the old connection.
        with anyio.fail_after(3):
            assert (await anext(changes)).seq == seq


async def ledger_append(bus: NatsBus) -> int:
    appended = await ledger_on(bus).append(JOB, submit_or_clear, CmdId("c"))
    assert appended.job is not None
    return appended.job.seq


async def test_a_listener_whose_question_was_lost_asks_again(
    nats_server: NatsServer, bus: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(changes_module, "SILENCE_S_MAX", 0.4)
    wire = Wire(nats_server, lose=b"CONSUMER.MSG.NEXT")
    async with (
        wire.running(),
        open_test_bus(nats_server, url=wire.url) as deaf,
        deaf.job_log(STREAMS).changes("dispatcher") as changes,
    ):
        await until(lambda: not wire.lose)
        seq = await ledger_append(bus)
        with anyio.fail_after(5):
            assert (await anext(changes)).seq == seq


async def test_what_a_dying_connection_still_held_is_not_sent_on_the_next(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    chunk = LogChunk(incarnation="i", offset=0, text="x" * 200_000)
    nats_server.freeze()
    for _ in range(150):
        await bus.publish(subjects.stored_log(JOB, Attempt(1)), chunk)
        await anyio.sleep(0)
    nats_server.kill()
    await until(lambda: not bus.is_connected)
    await anyio.to_thread.run_sync(nats_server.start)
    await until(lambda: bus.is_connected)
    await anyio.sleep(0.2)
    assert (await bus.read_logs(JOB)).logs == []


async def test_a_wait_for_a_frozen_server_that_was_given_up_does_not_break_the_connection(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    reconnects: list[int] = []
    bus.on_reconnect(lambda: reconnects.append(1))
    nats_server.freeze()
    with anyio.move_on_after(0.2) as given_up:
        async with bus.subscribe("test.frozen"):
            pass
    nats_server.thaw()
    assert given_up.cancelled_caught
    began_s = time.monotonic()
    with pytest.raises(BrokerDownError, match="nobody serves"):
        await bus.request("test.nobody", Done(), Done, timeout_s=5.0)
    assert time.monotonic() - began_s < 2.0
    assert reconnects == []


async def test_a_subscription_is_in_force_when_its_context_opens(nats_server: NatsServer) -> None:
    wire = Wire(nats_server)
    async with wire.running(), open_test_bus(nats_server, url=wire.url) as bus:
        del wire.sent[:]
        async with bus.subscribe("test.order"):
            sent = bytes(wire.sent)
    assert 0 <= sent.find(b"SUB test.order") < sent.find(b"PING"), "the question came first"


async def test_closing_without_a_server_does_not_hang(nats_server: NatsServer) -> None:
    async with open_test_bus(nats_server) as bus:
        nats_server.kill()
        await until(lambda: not bus.is_connected)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 3.0


async def test_another_server_is_taken_when_one_goes_away(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    dead = f"nats://127.0.0.1:{free_ports(1)[0]}"
    with running_nats(tmp_path / "second") as second:
        urls = [dead, nats_server.url, second.url]
        async with open_bus(urls, None, inbox="_INBOX.x", name="x") as bus:
            for gone, left in ((nats_server, second), (second, nats_server)):
                gone.kill()

                async def answers(left: NatsServer = left) -> bool:
                    async with open_test_bus(left) as other:
                        return await other.gather("test.where", Done(), Done, wait_s=1.0) == [
                            Done()
                        ]

                async def here(_subject: str, _payload: bytes) -> Done:
                    return Done()

                async with bus.serve("test.where", here):
                    with anyio.fail_after(10):
                        while not await answers():
                            await anyio.sleep(0.02)
                gone.start()
