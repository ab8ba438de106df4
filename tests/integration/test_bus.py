"""Requests, services and live messages on a real nats-server."""

import time
from collections.abc import AsyncGenerator

import anyio
import msgspec
import pytest

from buses import open_test_bus, ready_bus, until
from servers import NatsServer, free_ports
from vaultlayer import events as ev
from vaultlayer import subjects
from vaultlayer.bus.nats import HANDLERS_MAX, NatsBus, open_bus
from vaultlayer.bus.protocol import Handler
from vaultlayer.errors import (
    BrokerDownError,
    BrokerError,
    BusTimeoutError,
    CapacityError,
    InputError,
    InternalError,
    RefusedError,
    SupersededError,
    VaultLayerError,
)
from vaultlayer.ids import Attempt, JobId
from vaultlayer.messages import Done, JobRow, LogChunk, Message

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

JOB = JobId("jabcdefghj")


class Number(Message, frozen=True, kw_only=True):
    """Something to say."""

    value: int


def number(payload: bytes) -> int:
    return msgspec.json.decode(payload, type=Number).value


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncGenerator[NatsBus]:
    async with ready_bus(nats_server) as ready:
        yield ready


async def double(_subject: str, payload: bytes) -> Number:
    return Number(value=2 * number(payload))


async def test_a_request_is_answered(bus: NatsBus) -> None:
    async with bus.serve("test.double", double):
        assert await bus.request("test.double", Number(value=21), Number) == Number(value=42)


ERRORS: list[tuple[Exception, type[VaultLayerError], str]] = [
    (
        CapacityError("none left", why="sold out", mend="wait", retryable=True),
        CapacityError,
        "no-capacity",
    ),
    (SupersededError("attempt 2 took over"), SupersededError, "superseded"),
    (msgspec.ValidationError("Expected `int` - at `$.value`"), InputError, "input-bad"),
    (KeyError("hunter2"), VaultLayerError, "internal"),
]


@pytest.mark.parametrize(("raised", "arrives", "code"), ERRORS, ids=lambda v: str(v)[:20])
async def test_an_error_arrives_as_what_it_is(
    bus: NatsBus, raised: Exception, arrives: type[VaultLayerError], code: str
) -> None:
    async def fail(_subject: str, _payload: bytes) -> None:
        raise raised

    async with bus.serve("test.fail", fail):
        with pytest.raises(VaultLayerError) as caught:
            await bus.request("test.fail", Done(), Done)
    assert type(caught.value) is arrives
    assert caught.value.code == code
    assert "hunter2" not in str(caught.value)
    if isinstance(raised, VaultLayerError):
        assert caught.value.body() == raised.body()


async def test_an_error_keeps_a_code_that_has_no_class(bus: NatsBus) -> None:
    async def fail(_subject: str, _payload: bytes) -> None:
        error = RefusedError("not yet")
        error.code = "not-yet"
        raise error

    async with bus.serve("test.fail", fail):
        with pytest.raises(VaultLayerError) as caught:
            await bus.request("test.fail", Done(), Done)
    assert caught.value.code == "not-yet"


async def test_a_defect_in_one_request_does_not_end_the_service(bus: NatsBus) -> None:
    async with bus.serve("test.double", double):
        with pytest.raises(InputError):
            await bus.request("test.double", Done(), Number)
        assert (await bus.request("test.double", Number(value=1), Number)).value == 2


async def test_an_answer_of_another_shape_is_told(bus: NatsBus) -> None:
    async def strange(_subject: str, _payload: bytes) -> JobRow:
        return JobRow(job="j")

    async with bus.serve("test.strange", strange):
        with pytest.raises(InternalError, match="cannot be read as Number"):
            await bus.request("test.strange", Done(), Number)


async def test_a_subject_that_nobody_serves_fails_at_once(bus: NatsBus) -> None:
    began_s = time.monotonic()
    with pytest.raises(BrokerDownError) as caught:
        await bus.request("test.nobody", Done(), Done, timeout_s=5.0)
    assert caught.value.retryable
    assert time.monotonic() - began_s < 1.0


async def test_a_service_that_does_not_answer_times_out_as_unknown(bus: NatsBus) -> None:
    async def silent(_subject: str, _payload: bytes) -> None:
        return None

    async with bus.serve("test.silent", silent):
        with pytest.raises(BusTimeoutError) as caught:
            await bus.request("test.silent", Done(), Done, timeout_s=0.1)
    assert caught.value.retryable


async def test_a_reply_to_a_foreign_inbox_is_dropped_unheard(bus: NatsBus) -> None:
    heard: list[int] = []

    async def hear(_subject: str, payload: bytes) -> Done:
        heard.append(number(payload))
        return Done()

    subject = subjects.agent(JOB, Attempt(2), "beat")

    def own_inbox(subject: str) -> str:
        job, attempt, _ = subjects.parse_agent(subject)
        return subjects.agent_inbox(job, attempt)

    async with (
        bus.serve(subjects.agents("beat"), hear, allowed=own_inbox),
        bus.subscribe("victim.cmd") as victim,
    ):
        for reply in ("victim.cmd", subjects.agent_inbox(JOB, Attempt(1)) + ".x", ""):
            await bus.connection.publish(subject, b'{"value":1}', reply=reply)
        # A longer number must not pass as its own beginning.
        await bus.connection.publish(
            subject, b'{"value":2}', reply=subjects.agent_inbox(JOB, Attempt(22)) + ".x"
        )
        await bus.connection.publish("vl.agent.zz.notajob.x.beat", b"{}", reply="victim.cmd")
        own = subjects.agent_inbox(JOB, Attempt(2)) + ".x"
        async with bus.subscribe(own) as answers:
            await bus.connection.publish(subject, b'{"value":3}', reply=own)
            with anyio.fail_after(5):
                assert (await anext(answers)).payload == b"{}"
        with anyio.move_on_after(0.05) as quiet:
            await anext(victim)
        assert quiet.cancelled_caught
    assert heard == [3]


async def test_a_service_works_on_many_requests_at_once_but_not_on_all(bus: NatsBus) -> None:
    running, most = 0, 0
    go = anyio.Event()

    async def slow(_subject: str, _payload: bytes) -> Done:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        return Done()

    async def ask() -> None:
        await bus.request("test.slow", Done(), Done, timeout_s=10.0)

    async with bus.serve("test.slow", slow), anyio.create_task_group() as group:
        for _ in range(HANDLERS_MAX + 20):
            group.start_soon(ask)
        await until(lambda: running == HANDLERS_MAX)
        await anyio.sleep(0.05)
        assert running == HANDLERS_MAX
        go.set()
    assert (running, most) == (0, HANDLERS_MAX)


async def test_a_queue_shares_requests_and_without_one_everybody_hears(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    heard: dict[str, int] = {}

    def hearer(name: str) -> Handler:
        async def hear(subject: str, _payload: bytes) -> Number:
            heard[f"{name} {subject}"] = heard.get(f"{name} {subject}", 0) + 1
            return Number(value=ord(name))

        return hear

    async with (
        open_test_bus(nats_server) as other,
        bus.serve("test.shared", hearer("a"), queue="q"),
        other.serve("test.shared", hearer("b"), queue="q"),
        bus.serve("test.each", hearer("a")),
        other.serve("test.each", hearer("b")),
    ):
        for _ in range(40):
            await bus.request("test.shared", Done(), Number)
        assert heard["a test.shared"] + heard["b test.shared"] == 40
        assert min(heard["a test.shared"], heard["b test.shared"]) > 0
        both = await bus.gather("test.each", Done(), Number, wait_s=5.0, most=2)
        assert sorted(chr(one.value) for one in both) == ["a", "b"]


async def test_gathering_ends_early_when_nobody_is_there_and_leaves_errors_out(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    began_s = time.monotonic()
    assert await bus.gather("test.nobody", Done(), Number, wait_s=5.0) == []
    assert time.monotonic() - began_s < 1.0

    async def fail(_subject: str, _payload: bytes) -> None:
        raise CapacityError("none")

    async with (
        open_test_bus(nats_server) as other,
        bus.serve("test.some", fail),
        other.serve("test.some", double),
    ):
        assert await bus.gather("test.some", Number(value=1), Number, wait_s=0.3) == [
            Number(value=2)
        ]


async def test_a_wait_for_a_live_message_may_be_given_up_and_taken_up_again(bus: NatsBus) -> None:
    async with bus.subscribe("test.live") as messages:
        with anyio.move_on_after(0.01):
            await anext(messages)
        await bus.publish("test.live", Number(value=7))
        with anyio.fail_after(5):
            message = await anext(messages)
    assert (message.subject, number(message.payload), message.seq) == ("test.live", 7, 0)


async def test_a_live_event_carries_its_place_in_the_log(bus: NatsBus) -> None:
    log = bus.job_log(4)
    async with bus.subscribe(subjects.live(JOB)) as live:
        first = await log.append(ev.CancelRequested(job=JOB, cmd_id="a"), after=0)
        second = await log.append(ev.Cleared(job=JOB, cmd_id="b"), after=first)
        with anyio.fail_after(5):
            came = [await anext(live), await anext(live)]
    assert [one.seq for one in came] == [first, second]
    assert [subjects.parse_event(one.subject) for one in came] == [
        (JOB, "cancel_requested"),
        (JOB, "cleared"),
    ]


async def test_output_is_stored_and_read_back_in_pages(bus: NatsBus) -> None:
    def chunk(attempt: int, place: int) -> LogChunk:
        return LogChunk(incarnation=f"i{attempt}", offset=place, text=f"line {place}\n")

    for place in range(5):
        for attempt in (1, 2):
            await bus.keep_log(JOB, Attempt(attempt), chunk(attempt, place))
    page = await bus.read_logs(JOB, most=4)
    assert ([one.seq for one in page.logs], page.head, page.more) == ([1, 2, 3, 4], 10, True)
    rest = await bus.read_logs(JOB, after=4)
    assert ([one.seq for one in rest.logs], rest.more) == ([5, 6, 7, 8, 9, 10], False)
    second = await bus.read_logs(JOB, attempt=2)
    assert [one.chunk for one in second.logs] == [chunk(2, place) for place in range(5)]
    assert {one.attempt for one in second.logs} == {2}
    nothing = await bus.read_logs(JobId("jzzzzzzzzz"))
    assert (nothing.logs, nothing.head, nothing.more) == ([], 0, False)


async def test_the_index_keeps_the_newest_row_of_each_job(bus: NatsBus) -> None:
    index = bus.index()
    assert await index.all() == []
    for status in ("queued", "running"):
        for job in ("jaaaaaaaaa", "jbbbbbbbbb"):
            await index.put(JobId(job), JobRow(job=job, status=status))
    rows = await index.all()
    assert sorted((row.job, row.status) for row in rows) == [
        ("jaaaaaaaaa", "running"),
        ("jbbbbbbbbb", "running"),
    ]
    await index.drop()
    assert await index.all() == []


async def test_a_message_that_is_too_large_is_refused_with_its_size(bus: NatsBus) -> None:
    row = JobRow(job="j", name="x" * (1024 * 1024))
    with pytest.raises(BrokerError, match="max_payload"):
        await bus.publish("test.large", row)
    assert bus.is_connected


async def test_a_bus_that_does_not_answer_is_told_without_the_password() -> None:
    port = free_ports(1)[0]
    began_s = time.monotonic()
    with pytest.raises(BrokerDownError) as caught:
        async with open_bus(
            [f"nats://user:hunter2@127.0.0.1:{port}"],
            None,
            inbox="_INBOX.x",
            name="x",
            connect_timeout_s=0.5,
        ):
            pass
    assert time.monotonic() - began_s < 2.0
    assert "127.0.0.1" in str(caught.value)
    assert "vaultlayer up" in caught.value.mend
    assert "hunter2" not in str(caught.value)


async def test_a_bus_that_comes_up_late_is_found(nats_server: NatsServer) -> None:
    nats_server.kill()
    async with anyio.create_task_group() as group:

        async def come() -> None:
            await anyio.sleep(0.3)
            await anyio.to_thread.run_sync(nats_server.start)

        group.start_soon(come)
        async with open_test_bus(nats_server) as bus:
            assert bus.is_connected
