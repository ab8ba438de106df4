"""The follower on a real bus: stored pages are the truth, live messages only make it look sooner."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import msgspec
import pytest

from servers import NatsServer
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.errors import BrokerDownError
from vaultlayer.ids import JobId
from vaultlayer.messages import (
    EventsPage,
    EventsRequest,
    LogChunk,
    LogsPage,
    LogsRequest,
    Progress,
    StoredEvent,
    StoredLog,
)
from vaultlayer_cli import follow
from vaultlayer_cli.follow import Follower
from vaultlayer_cli.reading import Happened, Printed

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(60)]

JOB = JobId("j234567abc")
SUBMITTED = ev.Submitted(job=JOB, at=1.0, spec=ev.JobSpec(command=["x"]))
FINISHED = ev.Finished(job=JOB, at=2.0, outcome="succeeded")


@dataclass
class Told:
    """A view that keeps what it is shown, in order."""

    shown: list[str] = field(default_factory=list[str])
    notices: list[str] = field(default_factory=list[str])
    progress: list[int | None] = field(default_factory=list[int | None])

    def happened(self, entry: Happened) -> None:
        self.shown.append(entry.kind)

    def printed(self, output: Printed) -> None:
        self.shown.append(output.text)

    def progressed(self, attempt: int, progress: Progress) -> None:  # noqa: ARG002
        self.progress.append(progress.step)

    def told(self, text: str) -> None:
        self.notices.append(text)


@dataclass
class Shelf:
    """The stored entries and output of one job, served in small pages as a dispatcher does."""

    bus: NatsBus
    entries: list[StoredEvent] = field(default_factory=list[StoredEvent])
    logs: list[StoredLog] = field(default_factory=list[StoredLog])
    seq: int = 0

    def store(self, event: ev.Event) -> None:
        self.seq += 7
        body = msgspec.Raw(ev.encode(event))
        self.entries.append(StoredEvent(seq=self.seq, kind=ev.kind_of(event), body=body))

    def say(self, text: str) -> None:
        offset = sum(len(log.chunk.text) for log in self.logs)
        chunk = LogChunk(incarnation="i", offset=offset, text=text)
        self.logs.append(StoredLog(seq=len(self.logs) + 1, attempt=1, chunk=chunk))

    async def poke(self, event: ev.Event) -> None:
        self.store(event)
        kind = ev.kind_of(event)
        await self.bus.publish(subjects.live(JOB).replace(">", kind), event)

    async def _events(self, _subject: str, payload: bytes) -> EventsPage:
        request = msgspec.json.decode(payload, type=EventsRequest)
        found = [entry for entry in self.entries if entry.seq > request.after]
        return EventsPage(events=found[:2], head=self.seq, more=len(found) > 2)

    async def _logs(self, _subject: str, payload: bytes) -> LogsPage:
        request = msgspec.json.decode(payload, type=LogsRequest)
        found = [log for log in self.logs if log.seq > request.after]
        return LogsPage(logs=found[:2], head=len(self.logs), more=len(found) > 2)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for what, handler in (("events", self._events), ("logs", self._logs)):
                await stack.enter_async_context(self.bus.serve(subjects.query(JOB, what), handler))
            yield


@asynccontextmanager
async def world(server: NatsServer) -> AsyncGenerator[tuple[Shelf, Follower, Told]]:
    async with (
        open_bus([server.url], None, inbox="_INBOX.actor.t", name="t") as broker,
        open_bus([server.url], None, inbox="_INBOX.user.t", name="u") as user,
    ):
        view = Told()
        yield Shelf(broker), Follower(user, JOB, view), view


async def until(what: Callable[[], bool], wait_s: float = 10.0) -> None:
    with anyio.fail_after(wait_s):
        while not what():
            await anyio.sleep(0.01)


async def test_a_lost_live_message_costs_a_moment_and_no_entry(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LOOK_S", 0.1)
    async with world(nats_server) as (shelf, follower, view), shelf.open():
        shelf.store(SUBMITTED)
        async with anyio.create_task_group() as group:
            group.start_soon(follower.run)
            await until(lambda: view.shown == ["submitted"])
            for _ in range(5):
                shelf.store(ev.Cleared(job=JOB, attempt=1))
            shelf.store(FINISHED)
        assert view.shown == ["submitted", *["cleared"] * 5, "finished"]


async def test_a_live_message_makes_it_look_at_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LOOK_S", 600.0)
    async with world(nats_server) as (shelf, follower, view), shelf.open():
        shelf.store(SUBMITTED)
        with anyio.fail_after(10.0):
            async with anyio.create_task_group() as group:
                group.start_soon(follower.run)
                await until(lambda: view.shown == ["submitted"])
                await shelf.poke(ev.Cleared(job=JOB, attempt=1))
                await until(lambda: view.shown[-1] == "cleared")
                await shelf.poke(FINISHED)
        assert view.shown == ["submitted", "cleared", "finished"]


async def test_what_the_script_said_before_its_end_stands_before_its_end(
    nats_server: NatsServer,
) -> None:
    async with world(nats_server) as (shelf, follower, view), shelf.open():
        shelf.store(SUBMITTED)
        for n in range(7):
            shelf.say(f"{n} ")
        shelf.store(FINISHED)
        await follower.run()
        assert view.shown == [*(f"{n} " for n in range(7)), "submitted", "finished"]


async def test_a_replay_puts_output_between_the_entries_by_time_and_goes_on_without_a_double(
    nats_server: NatsServer,
) -> None:
    async with world(nats_server) as (shelf, follower, view), shelf.open():
        shelf.store(SUBMITTED)
        shelf.logs.append(
            StoredLog(
                seq=1, attempt=1, chunk=LogChunk(incarnation="i", offset=0, text="a\nb\n", at=1.5)
            )
        )
        shelf.store(ev.Cleared(job=JOB, attempt=1, at=1.7))
        await follower.replay(1)
        assert view.shown == ["submitted", "b\n", "cleared"]
        shelf.store(FINISHED)
        await follower.run()
        assert view.shown == ["submitted", "b\n", "cleared", "finished"]


async def test_a_broker_that_is_away_is_waited_for_and_told_of_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LOOK_S", 0.1)
    async with world(nats_server) as (shelf, follower, view):
        shelf.store(SUBMITTED)
        ended = anyio.Event()

        async def follow_on() -> None:
            await follower.run()
            ended.set()

        async with anyio.create_task_group() as group:
            async with shelf.open():
                group.start_soon(follow_on)
                await until(lambda: view.shown == ["submitted"])
            await until(lambda: len(view.notices) == 1)
            shelf.store(FINISHED)
            async with shelf.open():
                await until(ended.is_set)
        assert "does not answer" in view.notices[0]
        assert "answers again" in view.notices[1]
        assert view.shown == ["submitted", "finished"]


async def test_patience_has_an_end(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PATIENCE_S", 0.3)
    async with world(nats_server) as (_, follower, _view):
        with pytest.raises(BrokerDownError, match="the broker was away"):
            await follower.run()


async def test_progress_is_shown_as_it_comes(nats_server: NatsServer) -> None:
    async with world(nats_server) as (shelf, follower, view), shelf.open():
        shelf.store(SUBMITTED)
        async with anyio.create_task_group() as group:
            group.start_soon(follower.run)
            subject = subjects.progress(JOB).replace("*", "2")
            with anyio.fail_after(10.0):
                while not view.progress:
                    await shelf.bus.publish(subject, Progress(incarnation="i", step=5))
                    await anyio.sleep(0.05)
            await shelf.poke(FINISHED)
        assert view.progress[0] == 5
