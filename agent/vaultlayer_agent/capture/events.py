"""What the hooks inside the script say, heard on a unix socket.

JSON lines both ways. A line that bears `ask` is answered once the listener has dealt with it, that is when
it asks for the next event: so a hook that waits at the end of a save knows that the files are put aside.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.abc
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from vaultlayer.errors import InternalError
from vaultlayer.logging import get_logger

LINE_MOST_B = 65_536
EVENTS_MOST = 1024
HOOKS_MOST = 256
PATH_MOST_B = 100
SEND_S = 0.25

BEGIN = "checkpoint_begin"
END = "checkpoint_end"
FAILED = "checkpoint_failed"
BYE = "bye"


class HookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a hook saw.

    `kind`: `hello` (hooks are in place), `framework` (imported), `train` (a Trainer starts; `meta` holds its
    settings), `resumed` (from `path`), `step`, `checkpoint_begin`, `checkpoint_end`, `checkpoint_failed`,
    `loaded` (the script read `path`), `hook_failed`, and `bye` (the process is gone; made by the server).
    Of the ghost: `ghost` (it records), `ghost_step`, `ghost_off`, `snapshot_begin` (the hook stands still
    until it is answered), `snapshot_end`, `snapshot_void`, `replay` (to `step`), `live`, `verified` and
    `diverged`.
    """

    kind: str
    framework: str = ""
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    path: str = ""
    detail: str = ""
    pid: int = 0
    meta: dict[str, str] = {}
    ask: int = 0
    world: int = 1
    """How many ranks there are."""


def hook_path() -> Path:
    """Give the directory that goes in front on PYTHONPATH."""
    return Path(__file__).parent.parent / "hooks"


class HookServer:
    """Listens to the hooks of all processes of the job.

    `async with HookServer(path) as server: async for event in server: …`

    Args:
        path: where the socket is made; at most 100 bytes, for the system takes no more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hooks: set[anyio.abc.SocketStream] = set()
        self._last: tuple[HookEvent, anyio.abc.SocketStream] | None = None
        self._held: list[tuple[HookEvent, anyio.abc.SocketStream]] = []
        self._stack = AsyncExitStack()
        self._send: MemoryObjectSendStream[tuple[HookEvent, anyio.abc.SocketStream]]
        self._receive: MemoryObjectReceiveStream[tuple[HookEvent, anyio.abc.SocketStream]]
        self._logger = get_logger(part="hooks")

    async def __aenter__(self) -> Self:
        if len(str(self._path).encode()) > PATH_MOST_B:
            raise InternalError(
                "the hooks' socket cannot be made", why=f"its path is too long: {self._path}"
            )
        self._path.unlink(missing_ok=True)
        self._send, self._receive = anyio.create_memory_object_stream(EVENTS_MOST)
        listener = await anyio.create_unix_listener(self._path, mode=0o600)
        group = await self._stack.enter_async_context(anyio.create_task_group())
        group.start_soon(listener.serve, self._converse, group)
        self._stack.push_async_callback(self._close, listener, group)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, value, trace)

    def __aiter__(self) -> AsyncIterator[HookEvent]:
        return self

    async def __anext__(self) -> HookEvent:
        """Give the next event, after telling the last one's hook that it has been dealt with."""
        await self._answer()
        self._last = await self._receive.receive()
        return self._last[0]

    @property
    def hooks(self) -> int:
        """How many processes are connected now."""
        return len(self._hooks)

    async def tell(self, kind: str, **fields: str | float | bool) -> int:
        """Tell every hook; give how many took it. `save`: save at the end of the step."""
        line = msgspec.json.encode({"kind": kind, **fields}) + b"\n"
        return sum([await self._write(hook, line) for hook in list(self._hooks)])

    def hold(self) -> None:
        """Let the last event's hook wait for its answer until `let_go`, while other events are dealt with."""
        if self._last is not None:
            self._held.append(self._last)
            self._last = None

    async def let_go(self) -> None:
        """Answer all hooks that were held."""
        held, self._held = self._held, []
        for event, hook in held:
            await self._acknowledge(event, hook)

    async def _answer(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            await self._acknowledge(*last)

    async def _acknowledge(self, event: HookEvent, hook: anyio.abc.SocketStream) -> None:
        if event.ask:
            await self._write(hook, msgspec.json.encode({"kind": "ack", "ask": event.ask}) + b"\n")

    async def _write(self, hook: anyio.abc.SocketStream, line: bytes) -> bool:
        with anyio.move_on_after(SEND_S) as scope:
            try:
                await hook.send(line)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return False
        return not scope.cancelled_caught

    async def _converse(self, hook: anyio.abc.SocketStream) -> None:
        if len(self._hooks) >= HOOKS_MOST:
            await hook.aclose()
            return
        self._hooks.add(hook)
        pid = 0
        try:
            async with hook:
                async for event in self._lines(hook):
                    pid = event.pid
                    await self._send.send((event, hook))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self._hooks.discard(hook)
        await self._send.send((HookEvent(kind=BYE, pid=pid), hook))

    async def _lines(self, hook: anyio.abc.SocketStream) -> AsyncIterator[HookEvent]:
        buffer = b""
        while True:
            try:
                buffer += await hook.receive()
            except anyio.EndOfStream:
                return
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                try:
                    event = msgspec.json.decode(line, type=HookEvent)
                except msgspec.DecodeError as error:
                    self._logger.warning("hook_misspoke", why=str(error))
                    continue
                yield event
            if len(buffer) > LINE_MOST_B:
                self._logger.warning("hook_misspoke", why="line too long")
                return

    async def _close(
        self, listener: anyio.abc.Listener[anyio.abc.SocketStream], group: anyio.abc.TaskGroup
    ) -> None:
        group.cancel_scope.cancel()
        self._send.close()
        self._receive.close()
        self._path.unlink(missing_ok=True)
        with anyio.CancelScope(shield=True):
            await listener.aclose()
