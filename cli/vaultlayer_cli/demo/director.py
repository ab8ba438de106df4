"""Directs simulated providers from beside: starts them, and brings their machines a bad day."""

import contextlib
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import anyio
import anyio.to_thread
import msgspec

from vaultlayer.errors import ServerStartError
from vaultlayer.simulated import SimulatedProvider

START_S = 30.0
STOP_S = 20.0
ANSWER_S = 15.0


class Director:
    """Speaks to `/_sim` of each provider."""

    def __init__(self, served: Sequence[SimulatedProvider]) -> None:
        self.served = list(served)
        self._admin = {one.provider: one.admin_url for one in served}

    async def call(
        self, provider: str, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """Make one call and give its answer."""
        url = f"{self._admin[provider]}/{path}"
        data = msgspec.json.encode(dict(body or {}))

        def send() -> bytes:
            request = Request(url, data if method != "GET" else None, method=method)  # noqa: S310  our own loopback address
            with urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310
                return answer.read()

        return msgspec.json.decode(await anyio.to_thread.run_sync(send))

    async def take(self, provider: str, instance: str) -> None:
        """Let the provider take a machine in its own way, and have no other one from now on."""
        sold_out = {"kind": "no_capacity", "call": "create", "times": -1}
        await self.call(provider, "POST", "faults", sold_out)
        await self.call(provider, "POST", f"machines/{instance}/interrupt")

    async def states(self) -> dict[str, dict[str, Any]]:
        """Give what each provider has rented out and billed."""
        return {name: await self.call(name, "GET", "state") for name in self._admin}


@contextlib.asynccontextmanager
async def simulated(root: Path, names: Sequence[str]) -> AsyncGenerator[Director]:
    """Run `vaultlayer sim up` beside us while the context is open.

    Raises:
        ServerStartError: it does not come up.
    """
    root.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "vaultlayer_cli", "sim", "up", "--json", "--attended"]
    log = root / "simulators.log"
    with log.open("wb") as told:
        process = subprocess.Popen(  # noqa: ASYNC220  started and left alone
            [*command, "--dir", str(root), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            start_new_session=True,
        )
    try:
        yield Director(await _served(process, len(names), log))
    finally:
        process.terminate()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_wait, process)


async def _served(
    process: subprocess.Popen[bytes], count: int, log: Path
) -> list[SimulatedProvider]:
    out = process.stdout
    assert out is not None
    lines: list[bytes] = []
    with anyio.move_on_after(START_S):
        while len(lines) < count:
            line = await anyio.to_thread.run_sync(out.readline, abandon_on_cancel=True)
            if not line:
                break
            lines.append(line)
    if len(lines) < count:
        raise ServerStartError("the simulated providers did not start", mend=f"read {log}")
    return [msgspec.json.decode(line, type=SimulatedProvider) for line in lines]


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
