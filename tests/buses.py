"""Connections for tests of the bus, and a network that can be cut between client and server."""

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketStream

from servers import NatsServer, free_ports
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.streams import ensure_streams
from vaultlayer.ids import ActorId
from vaultlayer.subjects import actor_inbox

STREAMS = 4
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError)


def open_test_bus(
    server: NatsServer, name: str = "", *, url: str = ""
) -> AbstractAsyncContextManager[NatsBus]:
    """Connect without a credential, as an actor of some name."""
    name = name or f"test-{secrets.token_hex(4)}"
    return open_bus([url or server.url], None, inbox=actor_inbox(ActorId(name)), name=name)


@asynccontextmanager
async def ready_bus(server: NatsServer) -> AsyncGenerator[NatsBus]:
    """Connect, and make the streams."""
    async with open_test_bus(server) as bus:
        await ensure_streams(bus, STREAMS)
        yield bus


async def until(holds: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Poll until something holds; fail after a deadline."""
    with anyio.fail_after(within_s):
        while not holds():
            await anyio.sleep(0.005)


@dataclass
class Wire:
    """A relay before a server that can lose things.

    Once `trigger` went to the server, nothing of what the server says comes back, and both ends are cut.
    What holds `lose` does not go to the server, once.
    """

    server: NatsServer
    port: int = field(default_factory=lambda: free_ports(1)[0])
    trigger: bytes = b""
    lose: bytes = b""
    cuts: int = 0
    sent: bytearray = field(default_factory=bytearray)
    """All that went to the server."""

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Wire"]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._carry)
            yield self
            group.cancel_scope.cancel()

    async def _carry(self, client: SocketStream) -> None:
        async with (
            client,
            await anyio.connect_tcp("127.0.0.1", self.server.port) as upstream,
            anyio.create_task_group() as group,
        ):
            muted = anyio.Event()

            async def up() -> None:
                with suppress(*GONE):
                    async for data in client:
                        await self._send_up(data, upstream, muted)
                        if muted.is_set():
                            break
                group.cancel_scope.cancel()

            async def down() -> None:
                with suppress(*GONE):
                    async for data in upstream:
                        if not muted.is_set():
                            await client.send(data)
                group.cancel_scope.cancel()

            group.start_soon(up)
            group.start_soon(down)

    async def _send_up(self, data: bytes, upstream: SocketStream, muted: anyio.Event) -> None:
        if self.lose and self.lose in data:
            self.lose = b""
            return
        if self.trigger and self.trigger in data:
            self.trigger = b""
            muted.set()
        self.sent += data
        await upstream.send(data)
        if muted.is_set():
            # The server reads it before the connection goes.
            await anyio.sleep(0.1)
            self.cuts += 1
