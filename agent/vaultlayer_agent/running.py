"""The script while it runs: its process, its output, the hooks inside it, and what is captured of it."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.errors import VaultLayerError
from vaultlayer.logging import get_logger
from vaultlayer_agent.capture import Capture
from vaultlayer_agent.capture.events import HookEvent, HookServer
from vaultlayer_agent.layout import socket_directory
from vaultlayer_agent.output import Output
from vaultlayer_agent.process import Ending, Script
from vaultlayer_agent.progress import Reading, Tracker

DRAIN_S = 2.0
"""How long the last output may take to arrive once every process is dead."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What is started."""

    words: list[str]
    cwd: Path
    env: dict[str, str]
    mark: str


class Running:
    """One run of the script in one attempt.

    Args:
        output: takes what the script writes.
        tracker: reads progress from it.
        capture: finds what belongs into a checkpoint.
        clock_s: the boot-time clock.
        heard: called after each thing that a hook told, steps left out.
    """

    def __init__(
        self,
        *,
        output: Output,
        tracker: Tracker,
        capture: Capture,
        clock_s: Callable[[], float],
        heard: Callable[[HookEvent], Awaitable[None]],
    ) -> None:
        self._output = output
        self._tracker = tracker
        self._capture = capture
        self._clock_s = clock_s
        self._on_event = heard
        self._sockets = socket_directory()
        self._hooks = HookServer(self._sockets / "events")
        self._script: Script | None = None
        self._pumped = anyio.Event()

    @property
    def events_path(self) -> Path:
        """Where the hooks find us."""
        return self._sockets / "events"

    @property
    def hooks(self) -> HookServer:
        """The hooks' socket."""
        return self._hooks

    @property
    def script(self) -> Script | None:
        """The process, once it exists."""
        return self._script

    async def run(self, command: Command, started: Callable[[], None]) -> Ending:
        """Start the command and see it through to its end and the end of its output."""
        async with self._hooks:
            script = self._script = Script(
                command.words, cwd=command.cwd, env=command.env, mark=command.mark
            )
            started()
            async with task_group() as group:
                group.start_soon(self._listen)
                group.start_soon(self._end_with, script, group.cancel_scope)
                group.start_soon(self._pump, script)
            ending = await script.wait()
        self._output.feed(b"", final=True)
        return ending

    async def _end_with(self, script: Script, scope: anyio.CancelScope) -> None:
        """Once the script's first process has ended, end the others, so that the output ends too."""
        await script.wait()
        await anyio.to_thread.run_sync(script.kill)
        with anyio.move_on_after(DRAIN_S):
            await self._pumped.wait()
        scope.cancel()

    def kill(self) -> None:
        """Kill all processes of the script."""
        if self._script is not None:
            self._script.kill()

    def close(self) -> None:
        """Kill what is left and remove the socket; after all tasks that use them."""
        if self._script is not None:
            self._script.close()
            self._script = None
        shutil.rmtree(self._sockets, ignore_errors=True)

    async def tell(self, kind: str, **fields: str | float | bool) -> None:
        """Tell the hooks inside the script."""
        if self._script is not None:
            await self._hooks.tell(kind, **fields)

    async def _pump(self, script: Script) -> None:
        await script.pump(self._take)
        self._pumped.set()

    def _take(self, data: bytes) -> None:
        self._tracker.feed(self._output.feed(data), self._clock_s())

    async def _listen(self) -> None:
        async for event in self._hooks:
            await self._heard(event)

    async def _heard(self, event: HookEvent) -> None:
        if event.kind == "step":
            reading = Reading(step=event.step, steps=event.steps, loss=event.loss)
            self._tracker.read(reading, self._clock_s(), hooked=True)
            return
        try:
            self._capture.heard(event)
        except (OSError, VaultLayerError) as error:
            # The script waits for our answer and must not suffer for it; the next look finds it again.
            get_logger().error("capture_failed", kind=event.kind, why=str(error))
        if event.kind == "hook_failed":
            get_logger().warning("hook_failed", detail=event.detail)
            self._output.say(f"a hook failed and is out of use: {event.detail}")
        if event.kind == "ghost_step" and event.step is not None:
            self._tracker.count(event.step, self._clock_s())
        if event.kind == "ghost_off":
            self._tracker.uncount()
        await self._on_event(event)
