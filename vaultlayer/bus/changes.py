"""Hearing of changed jobs: one durable consumer per actor kind and stream, pulled by one lasting task each.

A pull is never cancelled for a single message: what the server sends to a cancelled pull is lost until it is
delivered again half a minute later. So each task keeps one reply subject for its whole life.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectSendStream
from nats.aio.msg import Msg

from vaultlayer.bus import jetstream
from vaultlayer.bus.connection import Connection, header_of, status_of
from vaultlayer.bus.inbox import Answers
from vaultlayer.bus.jetstream import StreamError
from vaultlayer.bus.protocol import Changed
from vaultlayer.errors import BrokerError, BusTimeoutError
from vaultlayer.ids import JobId
from vaultlayer.subjects import parse_event

ACK_WAIT_S = 30.0
"""A change that is not acknowledged within this time is delivered again, to any process of the kind."""

UNACKNOWLEDGED_MAX = 256
BATCH_MAX = 64
PULL_S = 30.0
HEARTBEAT_S = 5.0
SILENCE_S_MAX = 2 * HEARTBEAT_S + 1.0
RETRY_S_MIN = 0.05
RETRY_S_MAX = 2.0


class NatsChanged:
    """One change, as the server delivered it; implements `vaultlayer.bus.protocol.Changed`."""

    def __init__(self, connection: Connection, message: Msg) -> None:
        self._connection = connection
        self._reply = message.reply
        self._job = parse_event(message.subject)[0]
        self._seq = message.metadata.sequence.stream

    @property
    def job(self) -> JobId:
        """The job."""
        return self._job

    @property
    def seq(self) -> int:
        """Stream sequence of the entry that says so."""
        return self._seq

    async def done(self) -> None:
        """It was handled; it is not delivered again, unless the server falls before it has noted that."""
        await self._connection.publish(self._reply, b"+ACK")

    async def later(self, delay_s: float) -> None:
        """It could not be handled; deliver it again after `delay_s`."""
        delay = msgspec.json.encode({"delay": int(delay_s * 1e9)})
        await self._connection.publish(self._reply, b"-NAK " + delay)


@asynccontextmanager
async def hear_changes(
    connection: Connection, streams: Sequence[str], kind: str
) -> AsyncGenerator[AsyncIterator[Changed]]:
    """Merge the changes of all streams while the context is open.

    Raises:
        StreamError: a stream is missing.
    """
    send, receive = anyio.create_memory_object_stream[Changed](BATCH_MAX)
    async with AsyncExitStack() as stack:
        stack.enter_context(receive)
        stack.enter_context(send)
        pulls = [_Pull(connection, stream, kind, send) for stream in streams]
        for pull in pulls:
            await pull.ensure()
        group = await stack.enter_async_context(anyio.create_task_group())
        for pull in pulls:
            group.start_soon(pull.run)
        try:
            yield receive
        finally:
            group.cancel_scope.cancel()


class _Pull:
    """Keeps one consumer of one stream flowing."""

    def __init__(
        self,
        connection: Connection,
        stream: str,
        kind: str,
        send: MemoryObjectSendStream[Changed],
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._kind = kind
        self._send = send
        self._heard = 0
        self._failures = 0

    async def ensure(self) -> None:
        """Make the durable consumer unless it is there."""
        name = f"{self._stream}.{self._kind}"
        try:
            await jetstream.call(self._connection, f"CONSUMER.INFO.{name}")
        except StreamError as error:
            if error.number != jetstream.CONSUMER_MISSING:
                raise
        else:
            return
        body = {"stream_name": self._stream, "action": "create", "config": self._config()}
        try:
            await jetstream.call(self._connection, f"CONSUMER.CREATE.{name}", body)
        except StreamError as error:
            # Another process of the kind was quicker.
            if error.number not in jetstream.CONSUMER_EXISTS:
                raise

    def _config(self) -> dict[str, object]:
        # A consumer that was lost goes on behind what was heard; the very first starts with what is new.
        start: dict[str, object] = (
            {"deliver_policy": "by_start_sequence", "opt_start_seq": self._heard + 1}
            if self._heard
            else {"deliver_policy": "new"}
        )
        return start | {
            "durable_name": self._kind,
            "name": self._kind,
            "ack_policy": "explicit",
            "ack_wait": int(ACK_WAIT_S * 1e9),
            "max_deliver": -1,
            "max_ack_pending": UNACKNOWLEDGED_MAX,
            "replay_policy": "instant",
            "headers_only": True,
        }

    async def run(self) -> None:
        """Pull for ever, whatever becomes of server and connection."""
        api = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._kind}"
        async with self._connection.stream(api) as answers:
            while True:
                try:
                    await self._pull(api, answers)
                except BrokerError as error:
                    await self._recover(answers, error)

    async def _pull(self, api: str, answers: Answers) -> None:
        """Ask for a batch and pass it on; ends when the server has nothing more for this request."""
        ask = {
            "batch": BATCH_MAX,
            "expires": int(PULL_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        await self._connection.publish(api, msgspec.json.encode(ask), reply=answers.reply)
        taken = 0
        while taken < BATCH_MAX:
            message = await self._next(answers)
            if message is None:
                return
            status = status_of(message)
            if status == 0:
                taken += 1
                await self._pass_on(message)
            elif status != 100 and self._ends(status, header_of(message, "Description")):
                return

    async def _next(self, answers: Answers) -> Msg | None:
        try:
            with anyio.fail_after(SILENCE_S_MAX):
                return await answers.next()
        except TimeoutError:
            raise BusTimeoutError(
                f"the stream {self._stream} fell silent", retryable=True
            ) from None

    def _ends(self, status: int, why: str) -> bool:
        """Tell whether a status ends the request; raises where something must be mended first."""
        if status in {404, 408} or "Batch Completed" in why:
            return True
        raise BrokerError(f"the stream {self._stream} cannot be heard", why=why or str(status))

    async def _pass_on(self, message: Msg) -> None:
        change = NatsChanged(self._connection, message)
        self._heard = max(self._heard, change.seq)
        self._failures = 0
        await self._send.send(change)

    async def _recover(self, answers: Answers, error: BrokerError) -> None:
        """Wait a little, or until the connection is back, and see that the consumer is there."""
        self._failures = min(self._failures + 1, 10)
        self._connection.logger.info("changes_interrupted", stream=self._stream, why=str(error))
        with anyio.move_on_after(min(RETRY_S_MIN * 2**self._failures, RETRY_S_MAX)):
            while (message := await answers.next()) is not None:
                if status_of(message) == 0:
                    await self._pass_on(message)
        if not self._connection.is_connected:
            return
        try:
            await self.ensure()
        except BrokerError as fault:
            self._connection.logger.info(
                "consumer_not_ensured", stream=self._stream, why=str(fault)
            )
