"""Hosts for the ssh driver: real SSH servers on loopback that run what they are told, each in a home."""

import asyncio
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest
from anyio.from_thread import BlockingPortal

from clouds_end_to_end import until
from vaultlayer_actors.simulator.image import make_image
from vaultlayer_actors.simulator.runner import SYSTEM_PATH

asyncssh: Any = pytest.importorskip("asyncssh")

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

needs_ssh = pytest.mark.skipif(
    shutil.which("ssh") is None, reason="the driver uses the program ssh: install openssh-client"
)


def new_key() -> Any:
    return asyncssh.generate_private_key("ssh-ed25519")


class SshHost:
    """One host: its home, its keys, and how it is reached; served by asyncssh."""

    user = "tester"

    def __init__(self, path: Path, name: str, environ: dict[str, str]) -> None:
        self.name = name
        self.home = path / name
        self.home.mkdir(parents=True)
        self.known_hosts = path / f"{name}.known_hosts"
        self.key_file = path / f"{name}.key"
        self.port = 0
        self.portal: BlockingPortal
        self._client = new_key()
        self._host = new_key()
        self._path = path
        self._environ = {**environ, "HOME": str(self.home)}
        self._server: Any = None
        self.key_file.write_bytes(self._client.export_private_key())
        self.key_file.chmod(0o600)

    def table(self, **fields: object) -> dict[str, Any]:
        """Give its entry of `hosts` in the configuration."""
        return {
            "name": self.name,
            "address": "127.0.0.1",
            "user": self.user,
            "port": self.port,
            "key_file": str(self.key_file),
            "known_hosts": str(self.known_hosts),
            **fields,
        }

    async def serve(self) -> None:
        """Listen on loopback, on the port of before if there was one."""
        keys = self._client.export_public_key().decode()
        self._server = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_host_keys=[self._host],
            authorized_client_keys=asyncssh.import_authorized_keys(keys),
            process_factory=self._run,
            encoding=None,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.accept()

    def accept(self) -> None:
        """Write down the host's key, as a person does who has compared it."""
        key = self._host.export_public_key().decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {key}\n")

    def change_key(self) -> None:
        """Let the known key be another one than the host's."""
        other = new_key().export_public_key().decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {other}\n")

    def silence(self) -> None:
        """Let the host be unreachable: what runs on it runs on."""
        self.portal.call(self.fall_silent)

    def speak(self) -> None:
        """Let it be reached again."""
        self.portal.call(self.serve)

    async def fall_silent(self) -> None:
        """Close the door."""
        self._server.close()
        await self._server.wait_closed()

    async def _run(self, process: Any) -> None:
        started = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            process.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environ,
            cwd=self.home,
        )
        out, err = await started.communicate(await process.stdin.read())
        process.stdout.write(out)
        process.stderr.write(err)
        process.exit(started.returncode)

    def cut_power(self) -> list[int]:
        """Kill all that runs for instances here, and leave no word of it."""
        killed: list[int] = []
        mark = f"HOME={self.home}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            pid = int(path.parent.name)
            try:
                found = mark in path.read_bytes().split(b"\0") and pid != os.getpid()
                if found:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            except OSError:
                continue
        return killed


class OpenSshHost(SshHost):
    """The same, served by OpenSSH's own server, which lets in nobody but whoever runs the tests."""

    user = getpass.getuser()

    async def serve(self) -> None:
        """Listen on loopback; every call gets the host's environment."""
        (self._path / "run").mkdir(exist_ok=True)
        files = {
            kind: self._path / "run" / f"{self.name}.{kind}" for kind in ("host", "auth", "sh")
        }
        files["host"].write_bytes(self._host.export_private_key())
        files["auth"].write_bytes(self._client.export_public_key())
        files["host"].chmod(0o600)
        own = "".join(
            f"export {key}={shlex.quote(value)}\n" for key, value in self._environ.items()
        )
        files["sh"].write_text(f'{own}cd "$HOME" && exec sh -c "$SSH_ORIGINAL_COMMAND"\n')
        self.port = self.port or free_port()
        options = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": files["host"],
            "AuthorizedKeysFile": files["auth"],
            "ForceCommand": f"/bin/sh {files['sh']}",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        Path("/run/sshd").mkdir(exist_ok=True)
        self._server = subprocess.Popen(
            [str(SSHD), "-D", "-e", "-f", os.devnull, *words], stderr=subprocess.DEVNULL
        )
        until(self._is_open, 20.0)
        self.accept()

    def _is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def fall_silent(self) -> None:
        """Close the door."""
        self._server.terminate()
        self._server.wait()


def free_port() -> int:
    """Find a port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ssh_hosts(
    path: Path, *names: str, gpu: str = "", kind: type[SshHost] = SshHost
) -> Generator[list[SshHost]]:
    """Serve hosts until the context ends; all that runs on them ends with it.

    Args:
        path: where their homes are made.
        names: of the hosts.
        gpu: `<name>:<MB>:<count>` of the pretended CUDA driver; empty: none.
        kind: whose server it is.
    """
    image = make_image(path / "image")
    environ = {**image.environment(SYSTEM_PATH), "OMP_NUM_THREADS": "1"}
    if gpu:
        environ["VAULTLAYER_SIM_GPU"] = gpu
    hosts = [kind(path / "hosts", name, environ) for name in names]
    with anyio.from_thread.start_blocking_portal() as portal:
        for host in hosts:
            host.portal = portal
            host.speak()
        try:
            yield hosts
        finally:
            for host in hosts:
                host.silence()
                while host.cut_power():
                    pass
