"""The client library's client, without five habits that break promises made elsewhere.

It ends for ever when the server reports an error such as an expired credential; its reader dies when the
answer to a cancelled flush arrives; it sends commands of a lost connection on the next one, and never answers
the flushes of that one; and its flush overtakes what it should wait for.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from nats import errors
from nats.aio import transport
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

NOT_CONNECTED = (
    errors.OutboundBufferLimitError,
    errors.ConnectionClosedError,
    errors.ConnectionDrainingError,
    errors.ConnectionReconnectingError,
    OSError,
)
"""What the library raises when it cannot send now."""

FLUSH_S_MAX = 10


def allow_websockets(urls: Iterable[str]) -> None:
    """Give the library what it needs for `ws` and `wss` addresses, if there are any among `urls`.

    It would import that by itself at each start, which takes longer than all the rest; see
    `vaultlayer.imports`. Where it is not installed, the library says so when it connects.
    """
    if not any(url.startswith(("ws://", "wss://")) for url in urls):
        return
    try:
        import aiohttp  # noqa: PLC0415  takes 100 ms
        import multidict  # noqa: PLC0415
    except ModuleNotFoundError:
        return
    # The library finds both as globals of this module.
    transport.aiohttp = aiohttp  # pyright: ignore[reportPrivateImportUsage]
    transport.multidict = multidict  # pyright: ignore[reportPrivateImportUsage]


class LastingClient(Client):
    """A client that ends only when it is closed."""

    async def _process_err(self, err_msg: str) -> None:
        """Report an error of the server; where it ends the connection, it closes the socket itself."""
        if "stale connection" in err_msg:
            await super()._process_err(err_msg)
        else:
            await self._error_cb(errors.Error(f"nats: {err_msg}"))

    async def _process_pong(self) -> None:
        """Pass over the answer to a flush that was cancelled: setting its result would raise."""
        waiting = self._flushes()
        if waiting and waiting[0].done():
            waiting.pop(0)
            self._pings_outstanding = 0
            return
        await super()._process_pong()

    def _flushes(self) -> list[Any]:
        return cast("list[Any]", self._pongs)  # pyright: ignore[reportUnknownMemberType]

    async def flush(self, timeout: int = FLUSH_S_MAX) -> None:
        """Wait until the server has seen all that was sent so far.

        The library's PING overtakes what still waits to be sent, so that goes out first.
        """
        await self._flush_pending(force_flush=True)
        await super().flush(timeout)

    async def close(self) -> None:
        """End for good; one that never began has nothing to end."""
        if self._flush_queue is not None:
            await super().close()

    def forget_unsent(self) -> None:
        """Drop the commands of a lost connection, and end the flushes that nobody will answer.

        Whoever sent a message is told of failure elsewhere; subscriptions are made anew by the library.
        """
        self._pending.clear()
        self._pending_data_size = 0
        for flush in self._flushes():
            if not flush.done():
                flush.set_result(True)

    async def hear(
        self, subject: str, take: Callable[[Msg], Awaitable[None]], *, queue: str = ""
    ) -> Subscription:
        """Subscribe with a callback."""
        # The library's own annotation leaves a type parameter open.
        return await self.subscribe(subject, queue=queue, cb=take)  # pyright: ignore[reportUnknownMemberType]

    @property
    def server_version(self) -> str:
        """The version that the server told in its greeting."""
        return str(self._server_info.get("version", ""))
