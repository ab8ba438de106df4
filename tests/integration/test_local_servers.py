"""The embedded servers: one broker a home, kept ports, restarts after death, and no process left behind."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import anyio
import nats
import pytest

from vaultlayer.endpoints import read_endpoints
from vaultlayer.errors import (
    BrokerRunningError,
    PortTakenError,
    SealError,
    ServerMissingError,
    ServerStartError,
)
from vaultlayer.messages.people import StoreCredential
from vaultlayer.settings import BusSettings, Home, Settings, StoreSettings
from vaultlayer.store.s3 import S3Store
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.local.child import PidFile, end_stale, start_time
from vaultlayer_actors.local.lock import lock_owner
from vaultlayer_actors.local.ports import ports_of
from vaultlayer_actors.local.s3_server import parent_credential
from vaultlayer_actors.local.servers import LocalServers, local_servers

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

BUS_ONLY = Settings(store=StoreSettings(endpoint="http://127.0.0.1:9"))
STORE_ONLY = Settings(bus=BusSettings(urls=["nats://127.0.0.1:9"]))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "home", state=tmp_path / "home")


def parent(home: Home, servers: LocalServers) -> StoreCredential:
    return parent_credential(STORE_ONLY, servers.endpoints, KeyStore(home.keys).open())


async def until(check: Callable[[], Awaitable[bool]], within_s: float = 15.0) -> None:
    with anyio.fail_after(within_s):
        while not await check():
            await anyio.sleep(0.02)


def is_alive(pid: int) -> bool:
    return bool(start_time(pid))


async def test_a_fresh_home_serves_and_its_secrets_are_private(home: Home):
    async with local_servers(home, Settings()) as servers:
        client = await cast("Any", nats).connect(
            servers.endpoints.bus_url, user_credentials=str(home.creds / "broker.creds")
        )
        assert (await client.jetstream().account_info()).streams == 0
        await client.close()
        store = S3Store(parent(home, servers))
        await store.put("a", b"1")
        assert (await store.get("a")).data == b"1"
        pids = [child.pid for child in servers.children.values()]
        assert lock_owner(home.run) == os.getpid()
    assert not any(map(is_alive, pids))
    assert lock_owner(home.run) is None
    for directory in (home.keys, home.creds, home.run):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in [*home.keys.iterdir(), *home.creds.iterdir(), *home.servers.rglob("s3.json")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_a_second_start_keeps_ports_keys_and_data(home: Home):
    async with local_servers(home, STORE_ONLY) as servers:
        first = servers.endpoints
        await S3Store(parent(home, servers)).put("kept", b"yes")
        written = {p.name: p.read_bytes() for p in home.creds.iterdir()}
    async with local_servers(home, STORE_ONLY) as servers:
        assert servers.endpoints == first == read_endpoints(home.run)
        assert (await S3Store(parent(home, servers)).get("kept")).data == b"yes"
    assert {p.name: p.read_bytes() for p in home.creds.iterdir()} == written


async def test_a_killed_nats_server_comes_back_with_all_data(home: Home):
    async with local_servers(home, BUS_ONLY) as servers:
        child = servers.children["nats-server"]
        client = await cast("Any", nats).connect(
            servers.endpoints.bus_url,
            user_credentials=str(home.creds / "broker.creds"),
            reconnect_time_wait=0.05,
            max_reconnect_attempts=-1,
        )
        stream = client.jetstream()
        await stream.add_stream(name="T", subjects=["t.>"])
        for number in range(20):
            await stream.publish(f"t.{number}", b"x")
        before = child.pid
        os.kill(before, signal.SIGKILL)

        async def came_back() -> bool:
            return child.restarts == 1 and client.is_connected

        await until(came_back)
        assert child.pid != before
        assert (await stream.stream_info("T")).state.messages == 20
        await client.close()


async def test_a_killed_weed_comes_back_with_all_data(home: Home):
    async with local_servers(home, STORE_ONLY) as servers:
        child = servers.children["weed"]
        store = S3Store(parent(home, servers))
        for number in range(5):
            await store.put(f"k/{number}", b"v" * 100_000)
        os.kill(child.pid, signal.SIGKILL)

        async def came_back() -> bool:
            return child.restarts == 1

        await until(came_back, 30.0)
        assert sorted([stat.key async for stat in store.list("k/")]) == [f"k/{n}" for n in range(5)]
        assert (await store.get("k/4")).data == b"v" * 100_000


async def test_a_second_broker_on_one_home_is_told_who_is_first(home: Home):
    async with local_servers(home, BUS_ONLY):
        with pytest.raises(BrokerRunningError) as raised:
            async with local_servers(home, BUS_ONLY):
                pytest.fail("two brokers own one home")
        assert f"process {os.getpid()} " in raised.value.why


async def test_a_strangers_port_is_named_with_its_process(home: Home):
    async with local_servers(home, BUS_ONLY) as servers:
        port = servers.endpoints.bus_port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTakenError) as raised:
        async with local_servers(home, BUS_ONLY):
            pytest.fail("the port was moved or shared")
    assert str(port) in raised.value.what
    assert str(os.getpid()) in raised.value.why
    async with local_servers(home, BUS_ONLY) as servers:
        assert servers.endpoints.bus_port == port


async def test_the_servers_die_with_a_killed_broker(home: Home):
    script = (
        "import sys, anyio; from pathlib import Path\n"
        "from vaultlayer.settings import Home, Settings\n"
        "from vaultlayer_actors.local.servers import local_servers\n"
        "async def main():\n"
        "    path = Path(sys.argv[1]); home = Home(config=path, state=path)\n"
        "    async with local_servers(home, Settings()) as servers:\n"
        "        print(*[c.pid for c in servers.children.values()], flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    broker = subprocess.Popen(
        [sys.executable, "-c", script, str(home.state)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert broker.stdout is not None
        words = await anyio.to_thread.run_sync(lambda: read_pids(broker))
        assert len(words) == 2
        assert all(map(is_alive, words))
    finally:
        broker.kill()
        broker.wait()
        if broker.stdout is not None:
            broker.stdout.close()

    async def all_dead() -> bool:
        return not any(map(is_alive, words))

    await until(all_dead, 5.0)
    # Nothing of the dead broker holds its home: the next one starts at once on the same ports.
    async with local_servers(home, Settings()) as servers:
        assert servers.endpoints == read_endpoints(home.run)


def read_pids(broker: subprocess.Popen[str]) -> list[int]:
    assert broker.stdout is not None
    for line in broker.stdout:
        words = line.split()
        if len(words) == 2 and all(word.isdigit() for word in words):
            return [int(word) for word in words]
    return []


async def test_a_stale_server_is_ended_and_a_stranger_with_its_pid_is_not(tmp_path: Path):
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        path = tmp_path / "weed.pid"
        try:
            path.write_text(json.dumps({"pid": sleeper.pid, "started": "1"}))
            assert not await end_stale(path)
            assert is_alive(sleeper.pid)
            assert not path.exists()
            known = PidFile(pid=sleeper.pid, started=start_time(sleeper.pid))
            path.write_text(json.dumps({"pid": known.pid, "started": known.started}))
            assert await end_stale(path)
            assert not is_alive(sleeper.pid)
        finally:
            sleeper.kill()


async def test_a_missing_program_is_named(home: Home):
    with pytest.raises(ServerMissingError) as raised:
        async with local_servers(home, BUS_ONLY, environ={"NATS_SERVER_BIN": "/nowhere/nats"}):
            pytest.fail("something else was started")
    assert "NATS_SERVER_BIN" in raised.value.why


async def test_a_server_that_does_not_come_up_takes_the_others_with_it(home: Home):
    with pytest.raises(ServerStartError) as raised:
        async with local_servers(home, Settings(), environ={"WEED_BIN": "/bin/false"}):
            pytest.fail("a broken server counts as started")
    assert "weed ended with status 1" in raised.value.what
    endpoints = read_endpoints(home.run)
    assert endpoints is not None
    deadline = time.monotonic() + 5
    for port in ports_of(endpoints):
        while not _is_closed(port):
            assert time.monotonic() < deadline
            await anyio.sleep(0.02)


def _is_closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_an_error_in_the_body_comes_out_as_itself_and_ends_the_servers(home: Home):
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError):
        async with local_servers(home, BUS_ONLY) as servers:
            pids = [child.pid for child in servers.children.values()]
            raise ZeroDivisionError
    assert pids
    assert not any(map(is_alive, pids))


async def test_a_wrong_unlocking_key_opens_nothing(home: Home):
    async with local_servers(home, BUS_ONLY):
        pass
    stranger = {"VAULTLAYER_VAULT_KEY": "A" * 43 + "="}
    with pytest.raises(SealError):
        async with local_servers(home, BUS_ONLY, environ=stranger):
            pytest.fail("the vault opened with a stranger's key")
