"""A real nats-server for tests: free ports, sync always, ended by pid."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

NATS_SERVER = Path(sys.executable).with_name("nats-server")
START_S_MAX = 15.0

CONFIG = """
server_name: test
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor_port}"
jetstream {{ store_dir: "{store}", sync_interval: {sync_interval} }}
max_payload: {max_payload_b}
ping_interval: "10s"
write_deadline: "10s"
{extra}
"""


@dataclass
class NatsServer:
    """A server that can be killed, frozen and started again on the same ports and store."""

    path: Path
    extra: str = ""
    """More lines of configuration: accounts, authorization, TLS."""
    sync_interval: str = "always"
    max_payload_b: int = 1024 * 1024
    port: int = 0
    monitor_port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start, and wait until JetStream answers; ports are drawn once and kept."""
        drawn = self.port != 0
        for _ in range(5):
            if not drawn:
                self.port, self.monitor_port = free_ports(2)
            if self._launch():
                return
            self.kill()
        raise RuntimeError(f"nats-server did not come up: {self.log()[-2000:]}")

    def _launch(self) -> bool:
        self.path.mkdir(parents=True, exist_ok=True)
        config = self.path / "nats.conf"
        config.write_text(
            CONFIG.format(
                port=self.port,
                monitor_port=self.monitor_port,
                store=self.path / "store",
                sync_interval=self.sync_interval,
                max_payload_b=self.max_payload_b,
                extra=self.extra,
            )
        )
        program = NATS_SERVER if NATS_SERVER.exists() else shutil.which("nats-server")
        assert program is not None
        with (self.path / "nats.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-c", config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._is_healthy():
                return True
            time.sleep(0.01)
        return False

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.monitor_url}/healthz", timeout=1) as reply:
                return reply.status == 200
        except OSError:
            return False

    def log(self) -> str:
        """What the server has said so far."""
        return (self.path / "nats.log").read_text(errors="replace")

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def restart(self) -> None:
        """Kill it and start it again on the same ports and store."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop it in its tracks; what is sent to it waits in the sockets."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)


def free_ports(count: int) -> list[int]:
    """Find ports on which nobody listens just now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def running_nats(
    path: Path,
    *,
    extra: str = "",
    sync_interval: str = "always",
    max_payload_b: int = 1024 * 1024,
) -> Generator[NatsServer]:
    """Run a server below `path`; on the way out it is killed."""
    server = NatsServer(
        path=path / "nats", extra=extra, sync_interval=sync_interval, max_payload_b=max_payload_b
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()
