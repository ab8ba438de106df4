"""One connection to NATS that never gives up, never buffers what it could not send, and fails in our words.

Everything above it sees bytes, subjects and `VaultLayerError`s; only this file and its neighbours know NATS.
"""

import contextlib
import random
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectReceiveStream
from nats import errors
from nats.aio.client import Server
from nats.aio.msg import Msg

from vaultlayer.bus.client import NOT_CONNECTED, LastingClient, allow_websockets
from vaultlayer.bus.credential import BusCredential
from vaultlayer.bus.inbox import Answers, Inbox
from vaultlayer.errors import BrokerDownError, BrokerError, BusTimeoutError, DeniedError
from vaultlayer.logging import get_logger

PING_INTERVAL_S = 10
PINGS_OUTSTANDING_MAX = 2
RECONNECT_S_MIN = 0.1
RECONNECT_S_MAX = 2.0
SEND_S_MAX = 5.0
CLOSE_S_MAX = 2.0
PENDING_MAX = 4096
"""Messages that a subscription holds before they are fetched."""

_VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"')
_REFUSED = re.compile(r"authorization violation|authentication (expired|revoked)")


class Connection:
    """A connection below one inbox prefix; see `connect`."""

    def __init__(
        self, urls: Sequence[str], credential: BusCredential | None, *, inbox: str, name: str
    ) -> None:
        self.inbox = inbox
        self.name = name
        self.logger = get_logger(bus=name)
        self._urls = list(urls)
        self._credential = credential
        self._client = LastingClient()
        self._questions = Inbox(self._new_subject())
        self._lasting: list[Answers] = []
        self._on_reconnect: list[Callable[[], None]] = []
        self._is_connecting = True
        self._is_closing = False
        self._is_refused = False
        self._why_down = ""
        self._reconnects = 0
        self._denied: dict[str, DeniedError] = {}

    # State ----------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection just now, as far as this side knows."""
        return self._client.is_connected and not self._is_refused

    @property
    def is_refused(self) -> bool:
        """Whether the server refused the credential when last asked; it is asked again all the time."""
        return self._is_refused

    @property
    def server_version(self) -> str:
        """The version of the server that was last connected to."""
        return self._client.server_version

    @property
    def payload_max_b(self) -> int:
        """The largest message that the server takes."""
        return self._client.max_payload

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each new connection: what was said in between was not heard."""
        self._on_reconnect.append(callback)

    async def renew(self, credential: BusCredential) -> None:
        """Use another credential from now on, by connecting anew with it at once.

        The server ends a connection when the JWT that it was made with expires; requests under way fail as
        unknown and may be repeated.
        """
        self._credential = credential
        await self._client.force_reconnect()

    # Life -----------------------------------------------------------------------------------------

    async def open(self, timeout_s: float) -> None:
        """Connect, trying until `timeout_s`.

        Raises:
            BrokerDownError: no server answered.
            DeniedError: a server refused the credential.
        """
        allow_websockets(self._urls)
        try:
            with anyio.move_on_after(timeout_s):
                await self._client.connect(**self._options())
                await self._client.hear(self._questions.pattern, self._questions.take)
                await self._flush(timeout_s)
                self._is_connecting = False
        except (errors.Error, OSError) as error:
            self._why_down = self._why_down or str(error)
        except BaseException:
            await self.close()
            raise
        denied = self._denied.get(self._questions.pattern.lower())
        if self._is_connecting or denied:
            await self.close()
            where = ", ".join(map(_without_user, self._urls))
            raise denied or self._down(f"the bus does not answer at {where}")

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "servers": self._urls,
            "name": self.name,
            "inbox_prefix": self.inbox,
            "error_cb": self._failed,
            "disconnected_cb": self._lost,
            "reconnected_cb": self._restored,
            "reconnect_to_server_handler": self._next_server,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RECONNECT_S_MIN,
            "ping_interval": PING_INTERVAL_S,
            "max_outstanding_pings": PINGS_OUTSTANDING_MAX,
            # A message that cannot be sent now must fail now: a beat or an append sent later would lie.
            "pending_size": 0,
            "flush_timeout": SEND_S_MAX,
        }
        if self._credential is not None:
            options["user_jwt_cb"] = self._jwt
            options["signature_cb"] = self._sign
        return options

    def _jwt(self) -> bytes:
        assert self._credential is not None
        return self._credential.jwt.encode()

    def _sign(self, nonce: str) -> bytes:
        assert self._credential is not None
        return self._credential.sign_nonce(nonce)

    async def close(self) -> None:
        """Send what is under way and end the connection; without a server it just ends."""
        self._is_closing = True
        with anyio.move_on_after(CLOSE_S_MAX, shield=True):
            try:
                if self._client.is_connected:
                    await self._client.flush(timeout=1)
            except (errors.Error, OSError):
                self.logger.debug("flush_failed")
        # What breaks while we are leaving is no news to whoever leaves.
        with anyio.move_on_after(CLOSE_S_MAX, shield=True), contextlib.suppress(OSError):
            await self._client.close()

    # What the client library tells ----------------------------------------------------------------

    async def _failed(self, error: Exception) -> None:
        text = str(error).strip()
        if violation := _VIOLATION.search(text):
            self._violated(violation[1], violation[2])
        elif _REFUSED.search(text.lower()):
            self._is_refused = True
            self.logger.warning("credential_refused", why=text)
            if self._is_connecting:
                raise self._refused()
        elif isinstance(error, errors.SlowConsumerError):
            self.logger.warning("messages_dropped", subject=error.subject)
        else:
            self._why_down = text or type(error).__name__
            self.logger.debug("connection_failed", why=self._why_down)

    def _violated(self, verb: str, subject: str) -> None:
        self.logger.warning("permission_denied", verb=verb, subject=subject)
        what = f"this bus credential does not reach a {verb} to {subject}"
        denied = DeniedError(what, mend="use a credential that does")
        if verb == "publish":
            self._questions.denied(subject, denied)
        else:
            self._denied[subject] = denied

    async def _lost(self) -> None:
        self._client.forget_unsent()
        if not self._is_closing:
            self.logger.info("bus_disconnected", why=self._why_down)
        self._questions.lost(
            BusTimeoutError(
                "the connection to the bus was lost before the answer came",
                why="whether it took effect is unknown",
                retryable=True,
            )
        )

    async def _restored(self) -> None:
        self._reconnects = 0
        self._is_refused = False
        self.logger.info("bus_reconnected")
        for answers in self._lasting:
            answers.push(None)
        for callback in self._on_reconnect:
            callback()

    def _next_server(self, servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
        """Choose the server that failed least, after a wait that grows and is drawn by chance."""
        wait_s = min(RECONNECT_S_MIN * 2**self._reconnects, RECONNECT_S_MAX)
        self._reconnects = min(self._reconnects + 1, 10)
        return min(servers, key=lambda server: server.reconnects), wait_s * random.uniform(0.3, 1.0)

    # Talk -----------------------------------------------------------------------------------------

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send once, now or never.

        Raises:
            BrokerDownError: there is no connection; nothing was sent.
            DeniedError: there is none because the server refuses the credential.
            BrokerError: the message is larger than the server takes.
        """
        try:
            if self._is_refused:
                raise errors.ConnectionClosedError
            await self._client.publish(
                subject, payload, reply=reply, headers=dict(headers) if headers else None
            )
        except errors.MaxPayloadError:
            raise BrokerError(
                f"a message to {subject} is too large",
                why=f"{len(payload)} bytes, the server takes {self.payload_max_b}",
                mend="raise max_payload of the nats-server",
            ) from None
        except NOT_CONNECTED as error:
            # Nothing was waited for: a caller that tries again at once must not starve the reconnect.
            await checkpoint()
            raise self._down("there is no connection to the bus") from error

    def collect(self, subject: str) -> AbstractContextManager[Answers]:
        """Ready a reply subject for any number of answers to a question about `subject`."""
        return self._questions.opened(subject)

    @asynccontextmanager
    async def stream(self, subject: str) -> AsyncGenerator[Answers]:
        """Ready a lasting question about `subject`, with a subscription of its own.

        It outlives a lost connection and is told of the new one by a None. It takes messages that the server
        delivers under their stored subject, and when it ends the server sees that nobody listens.
        """
        answers = Answers(self._new_subject(), subject)

        async def take(message: Msg) -> None:
            answers.push(message)

        self._lasting.append(answers)
        try:
            async with self._subscribed(answers.reply, take):
                yield answers
        finally:
            self._lasting.remove(answers)

    def _new_subject(self) -> str:
        return f"{self.inbox}.{random.getrandbits(64):016x}"

    async def ask(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        timeout_s: float = SEND_S_MAX,
        headers: Mapping[str, str] | None = None,
    ) -> Msg:
        """Send and wait for one answer.

        Raises:
            BrokerDownError: nobody serves the subject, or there is no connection.
            BusTimeoutError: no answer came; whether it took effect is unknown.
            DeniedError: the credential does not reach the subject.
        """
        with self.collect(subject) as answers:
            await self.publish(subject, payload, reply=answers.reply, headers=headers)
            with anyio.move_on_after(timeout_s):
                message = await answers.next()
                assert message is not None
                if status_of(message) == 503:
                    raise nobody(subject)
                return message
        raise BusTimeoutError(
            f"no answer from {subject} within {timeout_s:g} s",
            why="whether it took effect is unknown",
            retryable=True,
        )

    @asynccontextmanager
    async def listen(
        self, subject: str, *, queue: str = ""
    ) -> AsyncGenerator[MemoryObjectReceiveStream[Msg]]:
        """Receive what is sent to `subject` from the moment the context is open.

        What comes while `PENDING_MAX` messages wait is dropped, and that is logged.

        Raises:
            DeniedError: the credential does not reach the subject.
        """
        send, receive = anyio.create_memory_object_stream[Msg](PENDING_MAX)
        dropped = 0

        async def take(message: Msg) -> None:
            nonlocal dropped
            try:
                send.send_nowait(message)
                dropped = 0
            except anyio.WouldBlock:
                dropped += 1
                if dropped == 1:
                    self.logger.warning("messages_dropped", subject=subject)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

        with send, receive:
            async with self._subscribed(subject, take, queue=queue):
                yield receive

    @asynccontextmanager
    async def _subscribed(
        self, subject: str, take: Callable[[Msg], Awaitable[None]], *, queue: str = ""
    ) -> AsyncGenerator[None]:
        try:
            subscription = await self._client.hear(subject, take, queue=queue)
        except NOT_CONNECTED as error:
            raise self._down(f"cannot listen to {subject}") from error
        try:
            await self._flush(SEND_S_MAX)
            if denied := self._denied.pop(subject.lower(), None):
                raise denied
            yield
        finally:
            with anyio.move_on_after(CLOSE_S_MAX, shield=True):
                try:
                    await subscription.unsubscribe()
                except errors.Error:
                    self.logger.debug("unsubscribe_failed", subject=subject)

    async def _flush(self, timeout_s: float) -> None:
        """Wait until the server has seen all that was sent; after a reconnect it is sent anew anyway."""
        if not self._client.is_connected:
            return
        try:
            await self._client.flush(timeout=max(1, int(timeout_s)))
        except (errors.Error, OSError) as error:
            self.logger.debug("flush_failed", why=str(error))

    def _down(self, what: str) -> BrokerDownError | DeniedError:
        if self._is_refused:
            return self._refused()
        return BrokerDownError(
            what, why=self._why_down, mend="vaultlayer up, or check [bus] urls", retryable=True
        )

    def _refused(self) -> DeniedError:
        return DeniedError(
            "the bus refuses this credential",
            why="it has expired, was revoked, or is unknown there",
        )


def status_of(message: Msg) -> int:
    """Give the status that the server itself put on a message; 0 for an ordinary one."""
    return int((message.headers or {}).get("Status", 0))


def header_of(message: Msg, name: str) -> str:
    """Give a header, empty when there is none."""
    return (message.headers or {}).get(name, "")


def nobody(subject: str) -> BrokerDownError:
    """Nobody listens to a subject."""
    return BrokerDownError(
        f"nobody serves {subject}", mend="vaultlayer up starts the broker", retryable=True
    )


def _without_user(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//", url)
