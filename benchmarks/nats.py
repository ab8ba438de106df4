"""A nats-server of a benchmark's own: free ports, every append synced, ended by its pid."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import program

START_S = 15.0


@dataclass(frozen=True)
class NatsServer:
    """A server that runs."""

    url: str
    monitor_url: str


@contextmanager
def running_nats(path: Path) -> Generator[NatsServer]:
    """Run a server below `path` while the context is open."""
    path.mkdir(parents=True)
    ports = free_ports(2)
    config = path / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{ports[0]}"\n'
        f'http: "127.0.0.1:{ports[1]}"\n'
        f'jetstream {{ store_dir: "{path / "store"}", sync_interval: always }}\n'
    )
    with (path / "nats.log").open("wb") as log:
        process = subprocess.Popen(
            [program("nats-server"), "-c", config], stdout=log, stderr=log, start_new_session=True
        )
    server = NatsServer(f"nats://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
    try:
        until_healthy(server, process)
        yield server
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def until_healthy(server: NatsServer, process: "subprocess.Popen[bytes]") -> None:
    give_up_at = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < give_up_at:
        try:
            with urllib.request.urlopen(f"{server.monitor_url}/healthz", timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("nats-server did not come up")


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
