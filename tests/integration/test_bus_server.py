"""The streams on a real nats-server, and the check that it keeps what it acknowledges."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import msgspec
import pytest

from buses import open_test_bus
from servers import NatsServer, free_ports, running_nats
from vaultlayer import subjects
from vaultlayer.bus import jetstream
from vaultlayer.bus.nats import NatsBus, open_bus
from vaultlayer.bus.streams import check_server, ensure_streams
from vaultlayer.errors import ConfigError, ServerUnfitError
from vaultlayer.ids import JobId, slot_of

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


class Config(msgspec.Struct, frozen=True):
    """What the server says of a stream."""

    name: str
    subjects: list[str]
    discard: str
    max_age: int = 0
    max_bytes: int = -1
    deny_delete: bool = False
    allow_direct: bool = False
    persist_mode: str = ""
    republish: dict[str, str] = {}
    metadata: dict[str, str] = {}


class Info(msgspec.Struct, frozen=True):
    """Answer of `STREAM.LIST`, in full."""

    config: Config


class Listing(msgspec.Struct, frozen=True):
    """Answer of `STREAM.LIST`, in full."""

    streams: list[Info] | None = None


async def configs(bus: NatsBus) -> dict[str, Config]:
    listing = await jetstream.query(bus.connection, "STREAM.LIST", Listing)
    return {info.config.name: info.config for info in listing.streams or []}


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncGenerator[NatsBus]:
    async with open_test_bus(nats_server) as opened:
        yield opened


async def test_the_job_log_never_drops_or_deletes_and_syncs_each_entry(bus: NatsBus) -> None:
    await ensure_streams(bus, 4)
    found = await configs(bus)
    assert set(found) == {"JOBS-0", "JOBS-1", "JOBS-2", "JOBS-3", "LOGS", "KV_vl_jobs"}
    for index in range(4):
        config = found[f"JOBS-{index}"]
        assert (config.discard, config.deny_delete, config.allow_direct) == ("new", True, True)
        assert (config.max_age, config.max_bytes, config.persist_mode) == (0, -1, "")
        assert config.republish == {"src": "vl.job.>", "dest": "vl.live.>"}
        assert config.metadata["vaultlayer.epoch"]
    assert sum(len(found[f"JOBS-{index}"].subjects) for index in range(4)) == subjects.SLOTS
    job = JobId("jabcdefghj")
    assert f"vl.job.{slot_of(job)}.>" in found[subjects.stream_of(job, 4)].subjects
    logs = found["LOGS"]
    assert (logs.discard, logs.persist_mode, logs.max_bytes) == ("old", "async", 2 * 1024**3)
    assert logs.max_age == 30 * 86_400 * 10**9


async def test_streams_are_made_once_however_often_and_by_however_many(
    nats_server: NatsServer, bus: NatsBus
) -> None:
    async with open_test_bus(nats_server) as other, anyio.create_task_group() as group:
        for each in (bus, other, bus, other):
            group.start_soon(ensure_streams, each, 4)
    before = await configs(bus)
    await ensure_streams(bus, 4, logs_max_b=1024**3)
    assert await configs(bus) == before
    nats_server.restart()
    async with open_test_bus(nats_server) as other:
        await ensure_streams(other, 4)
        assert await configs(other) == before


@pytest.mark.parametrize("other", [1, 2, 8, 16])
async def test_another_number_of_streams_is_refused(bus: NatsBus, other: int) -> None:
    await ensure_streams(bus, 4)
    before = await configs(bus)
    with pytest.raises(ConfigError, match="streams = 4"):
        await ensure_streams(bus, other)
    assert await configs(bus) == before


async def test_a_foreign_stream_on_our_subjects_is_told(bus: NatsBus) -> None:
    body = {"name": "MINE", "subjects": ["vl.>"], "storage": "file"}
    await jetstream.call(bus.connection, "STREAM.CREATE.MINE", body)
    with pytest.raises(ConfigError, match="MINE"):
        await ensure_streams(bus, 4)


@pytest.mark.parametrize("streams", [0, -1, 257])
async def test_a_senseless_number_of_streams_is_refused(bus: NatsBus, streams: int) -> None:
    with pytest.raises(ConfigError):
        await ensure_streams(bus, streams)


async def test_a_server_that_syncs_is_accepted(nats_server: NatsServer, bus: NatsBus) -> None:
    await check_server(bus, monitor_url=nats_server.monitor_url)
    await check_server(bus, monitor_url=nats_server.monitor_url + "/")
    await check_server(bus, vouched=True)


async def test_a_server_that_syncs_later_is_refused(tmp_path: Path) -> None:
    with running_nats(tmp_path, sync_interval="2m") as server:
        async with open_test_bus(server) as bus:
            with pytest.raises(ServerUnfitError, match="sync_interval: always"):
                await check_server(bus, monitor_url=server.monitor_url)


async def test_a_server_that_does_not_tell_is_refused(bus: NatsBus) -> None:
    for url in ("", f"http://127.0.0.1:{free_ports(1)[0]}", "file:///etc"):
        with pytest.raises(ServerUnfitError) as caught:
            await check_server(bus, monitor_url=url)
        assert caught.value.mend


ACCOUNTS = """
accounts {{
  APP {{ jetstream: enabled, users: [ {{ user: app, password: app }} ] }}
  SYS {{ users: [ {{ user: sys, password: sys }} ] }}
}}
system_account: SYS
"""


@pytest.mark.parametrize(("sync_interval", "fit"), [("always", True), ("1m", False)])
async def test_a_system_connection_tells_how_every_server_syncs(
    tmp_path: Path, sync_interval: str, fit: bool
) -> None:
    extra = ACCOUNTS.replace("{{", "{").replace("}}", "}")
    with running_nats(tmp_path, extra=extra, sync_interval=sync_interval) as server:
        url = f"127.0.0.1:{server.port}"
        async with (
            open_bus([f"nats://app:app@{url}"], None, inbox="_INBOX.app", name="app") as bus,
            open_bus([f"nats://sys:sys@{url}"], None, inbox="_INBOX.sys", name="sys") as system,
        ):
            if fit:
                await check_server(bus, system=system)
            else:
                with pytest.raises(ServerUnfitError, match="sync"):
                    await check_server(bus, system=system)
            with pytest.raises(ServerUnfitError, match="system account"):
                await check_server(bus, system=bus)
