"""The embedded servers on a disk that is small, fills up, and is freed again."""

from collections.abc import Generator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest

from tests.disks import fill, small_disk
from vaultlayer.bus.credential import read_credential
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.streams import ensure_streams
from vaultlayer.errors import BrokerError
from vaultlayer.ids import ActorId, Attempt, JobId
from vaultlayer.messages import LogChunk
from vaultlayer.settings import Home, Settings, StoreSettings
from vaultlayer.subjects import actor_inbox
from vaultlayer_actors.local.servers import LocalServers, local_servers

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

BUS_ONLY = Settings(store=StoreSettings(endpoint="http://127.0.0.1:9"))


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Path]:
    with small_disk(tmp_path / "disk", 160) as disk:
        yield disk


@pytest.fixture
def home(disk: Path) -> Home:
    return Home(config=disk / "home", state=disk / "home")


def own_bus(home: Home, servers: LocalServers) -> AbstractAsyncContextManager[NatsBus]:
    credential = read_credential(home.creds / "broker.creds")
    return open_bus(
        [servers.endpoints.bus_url], credential, inbox=actor_inbox(ActorId("test-1")), name="test"
    )


async def make_streams(home: Home, servers: LocalServers) -> None:
    async with own_bus(home, servers) as bus:
        await ensure_streams(bus, 4)


async def is_kept(home: Home, servers: LocalServers) -> bool:
    chunk = LogChunk(incarnation="i", offset=0, text="x" * 1000)
    try:
        async with own_bus(home, servers) as bus:
            await bus.keep_log(JobId("jtest"), Attempt(1), chunk)
    except BrokerError:
        return False
    return True


async def test_streams_are_made_on_a_small_disk_and_found_again_on_a_fuller_one(home: Home) -> None:
    async with local_servers(home, BUS_ONLY) as servers:
        await make_streams(home, servers)
    fill(home.state.parent, leave_b=60_000_000)
    async with local_servers(home, BUS_ONLY) as servers:
        await make_streams(home, servers)


async def test_a_server_that_met_a_full_disk_takes_entries_again_once_there_is_room(
    home: Home,
) -> None:
    async with local_servers(home, BUS_ONLY) as servers:
        await make_streams(home, servers)
        assert await is_kept(home, servers)
        filler = fill(home.state.parent)
        while await is_kept(home, servers):
            pass
        filler.unlink()
        with anyio.fail_after(40):
            while not await is_kept(home, servers):
                await anyio.sleep(0.2)
        assert servers.children["nats-server"].restarts == 1
