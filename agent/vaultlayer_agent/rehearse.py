"""A replay of one snapshot beside the job that made it, to see whether it would go on exactly.

`python -m vaultlayer_agent.rehearse FILE` reads an `Order` from the file and prints an `Outcome` as JSON. The
script is ended as soon as the next values are compared, and nothing of what it did is kept or sent.
"""

import os
import shutil
import sys
import time
from pathlib import Path

import anyio
import msgspec

from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.logging import set_up_logging
from vaultlayer_agent import environment as en
from vaultlayer_agent import ghost as gh
from vaultlayer_agent.capture import hook_path
from vaultlayer_agent.capture.events import HookServer
from vaultlayer_agent.ghost import Phase
from vaultlayer_agent.layout import socket_directory
from vaultlayer_agent.process import Script

TAIL_B = 4096
OVER = frozenset({Phase.RECORDING, Phase.FALLEN, Phase.OFF})


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be replayed; all paths are absolute.

    `work` holds the code and what lay beside it at the launch, `image` the files of the snapshot's moment,
    `ghost` its log and snapshots. `env` is the user's whole environment.
    """

    job: str
    command: list[str]
    work: str
    image: str
    ghost: str
    number: int
    threads: int = 0
    env: dict[str, str] = {}
    limit_s: float = 300.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; `phase` is `recording` when the replay went live and all values were equal."""

    phase: str
    step: int
    equal: int
    of: int
    reason: str
    took_s: float
    tail: str = ""


class Rehearsal:
    """One replay.

    Args:
        order: what is replayed.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._ghost = gh.begin(records=True, replays=True)
        self._tail = b""

    async def run(self) -> Outcome:
        """Replay until the next values are compared, it falls, or its time is up."""
        begun_s = time.monotonic()
        sockets = socket_directory()
        try:
            with anyio.move_on_after(self._order.limit_s):
                await self._replay(sockets / "events")
        finally:
            shutil.rmtree(sockets, ignore_errors=True)
        ghost = self._ghost
        return Outcome(
            phase=ghost.phase.value,
            step=ghost.target,
            equal=ghost.equal,
            of=ghost.of,
            reason=ghost.reason,
            took_s=round(time.monotonic() - begun_s, 3),
            tail=self._tail.decode(errors="replace"),
        )

    async def _replay(self, events: Path) -> None:
        order = self._order
        async with HookServer(events) as server:
            script = Script(
                order.command,
                cwd=Path(order.work),
                env=self._environment(events),
                mark=f"{order.job}-rehearsal-{os.getpid()}",
            )
            try:
                async with task_group() as group:
                    group.start_soon(script.pump, self._keep)
                    group.start_soon(self._see_end, script, group.cancel_scope)
                    async for event in server:
                        self._ghost = gh.hear(self._ghost, event)
                        if self._is_over:
                            group.cancel_scope.cancel()
                            break
            finally:
                script.close()

    @property
    def _is_over(self) -> bool:
        return self._ghost.phase in OVER

    async def _see_end(self, script: Script, scope: anyio.CancelScope) -> None:
        ending = await script.wait()
        # What it said last may still be on its way.
        await anyio.sleep(0.5)
        if not self._is_over:
            self._ghost = gh.ended(self._ghost, ending, stopped=False)
        scope.cancel()

    def _keep(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-TAIL_B:]

    def _environment(self, events: Path) -> dict[str, str]:
        order = self._order
        checkpoints = str(Path(order.work, "checkpoints"))
        forced = {
            "VAULTLAYER_JOB": order.job,
            "VAULTLAYER_CHECKPOINT_DIR": checkpoints,
            "CHECKPOINT_DIR": checkpoints,
            "VAULTLAYER_EVENTS": str(events),
            **en.ghost_environment(
                ghost=Path(order.ghost),
                work=Path(order.work),
                image=Path(order.image),
                number=order.number,
                every="",
            ),
        }
        return en.script_environment(
            base={},
            user=order.env,
            forced=forced,
            job=order.job,
            pins=en.Pins(threads=order.threads),
            hooks=hook_path(),
        )


def main() -> None:
    """Carry out the order in the file that is named."""
    set_up_logging(sys.stderr, level="CRITICAL")
    order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    outcome = anyio.run(Rehearsal(order).run)
    sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")


if __name__ == "__main__":
    main()
