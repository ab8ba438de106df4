"""The bus over NATS: requests, services and live messages as values, errors in our words."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream
from nats.aio.msg import Msg

from vaultlayer.bus import logs
from vaultlayer.bus.connection import Connection, header_of, status_of
from vaultlayer.bus.credential import BusCredential
from vaultlayer.bus.index import NatsIndex
from vaultlayer.bus.joblog import NatsJobLog
from vaultlayer.bus.protocol import Handler, Incoming, ReplyPrefix
from vaultlayer.errors import (
    BrokerError,
    ErrorBody,
    InputError,
    InternalError,
    VaultLayerError,
    error_of,
)
from vaultlayer.ids import Attempt, JobId
from vaultlayer.messages import ERROR_HEADER, LogChunk, LogsPage, LogStored

T = TypeVar("T", bound=msgspec.Struct)

HANDLERS_MAX = 64
"""Requests that one service works on at once; more wait, and those that cannot wait are dropped."""

CONNECT_S_MAX = 10.0
GATHER_MAX = 10_000
_JSON = msgspec.json.Encoder()


@asynccontextmanager
async def open_bus(
    urls: Sequence[str],
    credential: BusCredential | None,
    *,
    inbox: str,
    name: str,
    connect_timeout_s: float = CONNECT_S_MAX,
) -> AsyncGenerator["NatsBus"]:
    """Connect, and stay connected while the context is open.

    Args:
        urls: servers of one cluster; the first that answers is used, another one when it goes away.
        credential: who we are; None for a server without users.
        inbox: prefix below which this connection is answered; the credential must be allowed to read it.
        name: shown by the server's monitor and in log lines.
        connect_timeout_s: for the first connection; later ones are tried for ever.

    Raises:
        BrokerDownError: no server answered in time.
        DeniedError: a server refused the credential, or the inbox.
    """
    connection = Connection(urls, credential, inbox=inbox, name=name)
    await connection.open(connect_timeout_s)
    try:
        yield NatsBus(connection)
    finally:
        await connection.close()


class NatsBus:
    """A connection that speaks in messages; implements `vaultlayer.bus.protocol.Bus`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._logger = connection.logger

    @property
    def inbox(self) -> str:
        """The prefix below which this connection is answered."""
        return self.connection.inbox

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection just now, as far as this side knows."""
        return self.connection.is_connected

    @property
    def is_refused(self) -> bool:
        """Whether the server refused our credential when last asked: expired, revoked or unknown."""
        return self.connection.is_refused

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each new connection: what was said in between was not heard."""
        self.connection.on_reconnect(callback)

    async def renew(self, credential: BusCredential) -> None:
        """Use another credential from now on; connects anew with it at once (some milliseconds).

        Requests under way fail with BusTimeoutError.
        """
        await self.connection.renew(credential)

    # Asking ---------------------------------------------------------------------------------------

    async def publish(self, subject: str, message: msgspec.Struct) -> None:
        """Send and forget.

        Raises:
            BrokerDownError: there is no connection; nothing was sent, and nothing will be.
        """
        await self.connection.publish(subject, _JSON.encode(message))

    async def request(
        self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout_s: float = 5.0
    ) -> T:
        """Ask once.

        Raises:
            BusTimeoutError: no answer; whether it took effect is unknown.
            BrokerDownError: nobody serves this subject, or there is no connection.
            DeniedError: the credential does not reach the subject.
            VaultLayerError: the error that the service gave.
        """
        answer = await self.connection.ask(subject, _JSON.encode(message), timeout_s=timeout_s)
        return _read(answer, reply)

    async def request_bytes(self, subject: str, payload: bytes, *, timeout_s: float = 5.0) -> bytes:
        """Ask somebody who does not speak our messages, such as the server's own `$SYS` services."""
        return (await self.connection.ask(subject, payload, timeout_s=timeout_s)).data

    async def gather(
        self, subject: str, message: msgspec.Struct, reply: type[T], *, wait_s: float, most: int = 0
    ) -> list[T]:
        """Ask everybody who listens and give what came within `wait_s`, or the first `most`.

        Errors that a service gave and answers that cannot be read are logged and left out.

        Raises:
            BrokerDownError: there is no connection.
        """
        came: list[T] = []
        with self.connection.collect(subject) as answers:
            await self.connection.publish(subject, _JSON.encode(message), reply=answers.reply)
            with anyio.move_on_after(wait_s):
                while len(came) < (most or GATHER_MAX):
                    answer = await answers.next()
                    if answer is None or status_of(answer) == 503:
                        break
                    try:
                        came.append(_read(answer, reply))
                    except VaultLayerError as error:
                        self._logger.info("answer_left_out", subject=subject, code=error.code)
        return came

    # Serving --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def serve(
        self, subject: str, handler: Handler, *, queue: str = "", allowed: ReplyPrefix | None = None
    ) -> AsyncGenerator[None]:
        """Answer requests while the context is open; `queue` shares them among processes.

        Up to `HANDLERS_MAX` handlers run at once. A handler's VaultLayerError goes back as it is, a message
        that cannot be decoded as `input-bad`, anything else as `internal` without its text.

        Args:
            subject: may hold wildcards.
            handler: takes (subject, payload); what it returns is the reply, None answers nothing.
            queue: name of the group that shares the requests; empty: everybody gets each.
            allowed: gives the inbox prefix that may be answered for a subject. A request that wants its
                answer elsewhere is dropped unheard: we may publish where the caller may not.
        """
        slots = anyio.Semaphore(HANDLERS_MAX)
        async with (
            self.connection.listen(subject, queue=queue) as requests,
            anyio.create_task_group() as group,
        ):

            async def take() -> None:
                async for request in requests:
                    if not self._may_answer(request, allowed):
                        continue
                    await slots.acquire()
                    group.start_soon(work, request)

            async def work(request: Msg) -> None:
                try:
                    await self._answer(request, handler)
                finally:
                    slots.release()

            group.start_soon(take)
            try:
                yield
            finally:
                group.cancel_scope.cancel()

    def _may_answer(self, request: Msg, allowed: ReplyPrefix | None) -> bool:
        if allowed is None:
            return True
        try:
            prefix = allowed(request.subject)
        except (ValueError, IndexError):
            prefix = ""
        if prefix and request.reply.startswith(f"{prefix}."):
            return True
        self._logger.warning("reply_refused", subject=request.subject, reply=request.reply)
        return False

    async def _answer(self, request: Msg, handler: Handler) -> None:
        error: VaultLayerError
        try:
            reply = await handler(request.subject, request.data)
            payload = b"" if reply is None else _JSON.encode(reply)
        except VaultLayerError as given:
            error = given
        except msgspec.DecodeError as fault:
            error = InputError("the request cannot be read", why=str(fault))
        except (
            Exception
        ):  # a defect in one request must not end the service; it is logged and answered
            self._logger.exception("request_failed", subject=request.subject)
            error = InternalError("the broker failed on this request", why="its log tells more")
        else:
            if payload:
                await self._reply(request, payload, {})
            return
        await self._reply(request, _JSON.encode(error.body()), {ERROR_HEADER: error.code})

    async def _reply(self, request: Msg, payload: bytes, headers: dict[str, str]) -> None:
        if not request.reply:
            return
        try:
            await self.connection.publish(request.reply, payload, headers=headers)
        except BrokerError as error:
            # The caller sees a timeout and asks again, as for any lost answer.
            self._logger.warning("reply_lost", subject=request.subject, why=error.what)

    # Hearing --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def subscribe(self, subject: str) -> AsyncGenerator[AsyncIterator[Incoming]]:
        """Receive messages while the context is open.

        Delivery is at most once: what is sent while the connection is away, or while too many messages wait,
        is not seen. Whoever must not miss anything reads the log again after `on_reconnect`.
        """
        async with self.connection.listen(subject) as messages:
            yield _Incoming(messages)

    # What lies behind -----------------------------------------------------------------------------

    def job_log(self, streams: int) -> NatsJobLog:
        """Give the job log; `streams` as the streams were made with. Broker processes only."""
        return NatsJobLog(self.connection, streams)

    async def store_log(self, subject: str, chunk: LogChunk) -> int:
        """Have the broker store a chunk of output and give its sequence; raises as `request`.

        It is a request and no publish into a stream: the server would acknowledge to whatever reply subject
        an agent names, and so speak for it where it may not.
        """
        return (await self.request(subject, chunk, LogStored)).seq

    async def keep_log(self, job: JobId, attempt: Attempt, chunk: LogChunk) -> int:
        """Store a chunk that an agent sent; see `vaultlayer.bus.logs.keep_log`. Broker processes only."""
        return await logs.keep_log(self.connection, job, attempt, chunk)

    async def read_logs(
        self, job: JobId, *, after: int = 0, attempt: int = 0, most: int = 200
    ) -> LogsPage:
        """Read stored output of a job's scripts; `attempt` 0 means all. Broker processes only."""
        return await logs.read_logs(self.connection, job, after=after, attempt=attempt, most=most)

    def index(self) -> NatsIndex:
        """Give the index of jobs. Broker processes only."""
        return NatsIndex(self.connection)

    async def close(self) -> None:
        """Flush what was sent and end the connection."""
        await self.connection.close()


class _Incoming:
    """Iterates over live messages; an iteration that was cancelled may be taken up again."""

    def __init__(self, messages: MemoryObjectReceiveStream[Msg]) -> None:
        self._messages = messages

    def __aiter__(self) -> AsyncIterator[Incoming]:
        return self

    async def __anext__(self) -> Incoming:
        message = await anext(self._messages)
        seq = header_of(message, "Nats-Sequence")
        return Incoming(message.subject, message.data, int(seq) if seq.isdigit() else 0)


def _read(answer: Msg, reply: type[T]) -> T:
    """Decode an answer, or raise the error that it carries."""
    try:
        if header_of(answer, ERROR_HEADER):
            raise error_of(msgspec.json.decode(answer.data, type=ErrorBody))
        return msgspec.json.decode(answer.data, type=reply)
    except msgspec.DecodeError as fault:
        raise InternalError(
            f"an answer cannot be read as {reply.__name__}",
            why=str(fault),
            mend="use the same version on both sides",
        ) from fault
