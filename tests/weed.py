"""A real S3 server for tests: `weed mini` on ports of its own, ended by pid."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import obstore
from obstore.store import S3Store

from vaultlayer.store.weed import (
    ROLE_ARN,
    WeedPorts,
    weed_arguments,
    weed_config_files,
    weed_ports,
    weed_sockets,
)

ACCESS_KEY = "testadminkey"
SECRET_KEY = "testadminsecret"
WEED = Path(sys.executable).with_name("weed")


@dataclass
class WeedServer:
    """A running server; `kill` and `start` keep directory and ports."""

    path: Path
    ports: WeedPorts
    bucket: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    role_arn: str = ROLE_ARN
    region: str = "us-east-1"
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports.s3}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start and wait until the bucket answers."""
        data, config = self.path / "data", self.path / "config"
        data.mkdir(parents=True, exist_ok=True)
        config.mkdir(exist_ok=True)
        files = weed_config_files(
            access_key=self.access_key,
            secret_key=self.secret_key,
            signing_key=b"k" * 32,
            bucket=self.bucket,
        )
        for name, text in files.items():
            (config / name).write_bytes(text)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "S3_"))}
        with (self.path / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(
                [WEED, *weed_arguments(data, config, self.ports, bucket=self.bucket)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean,
                cwd=self.path,
                start_new_session=True,
            )
        await self._answers()

    async def _answers(self) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            if await anyio.to_thread.run_sync(self._probe):
                return
            await anyio.sleep(0.05)
        tail = (self.path / "weed.log").read_text(errors="replace")[-2000:]
        await anyio.to_thread.run_sync(self.end)
        raise RuntimeError(f"weed did not come up on {self.ports}: {tail}")

    def _probe(self) -> bool:
        """Tell whether the bucket takes an object; the S3 port opens before the volumes are there."""
        store = S3Store(
            self.bucket,
            endpoint=self.endpoint,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            region=self.region,
            client_options={"allow_http": True, "timeout": "5s"},
            retry_config={"max_retries": 0},
        )
        try:
            obstore.put(store, "up", b"1")
            obstore.delete(store, "up")
        except Exception:
            return False
        return True

    def kill(self) -> None:
        """End it as a power cut of the process would."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        """End it for good, and what it leaves in /tmp."""
        self.kill()
        for leftover in weed_sockets(self.ports):
            leftover.unlink(missing_ok=True)


def free_ports() -> WeedPorts:
    """Find ports nobody listens on; the chooser of the same moment elsewhere draws other dice."""
    dice = random.SystemRandom()
    for _ in range(200):
        base = dice.randrange(11_000, 22_000, 9)
        ports = weed_ports(base + 8, base)
        if all(_is_free(port) for port in ports.every):
            return ports
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@asynccontextmanager
async def weed_server(path: Path, *, bucket: str = "vaultlayer") -> AsyncGenerator[WeedServer]:
    """Start a server below `path`; on the way out it is killed and its sockets are removed."""
    server = WeedServer(path=path / "weed", ports=free_ports(), bucket=bucket)
    try:
        for attempt in range(3):
            try:
                await server.start()
                break
            except RuntimeError:
                if attempt == 2:
                    raise
                server.end()
                server.ports = free_ports()
                server.path = path / f"weed{attempt + 1}"
        yield server
    finally:
        server.end()
