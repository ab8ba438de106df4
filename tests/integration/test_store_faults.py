"""The store against a real S3 server: who wins, what a crash loses, and how long anything takes."""

import os
from collections.abc import Awaitable, Sequence

import anyio
import pytest

from stores import JOB, ONE, OTHER, admin_credential, keys, minter
from vaultlayer.errors import (
    StoreConflictError,
    StoreMissingError,
    StoreUnreachableError,
)
from vaultlayer.store.s3 import S3Store, open_store, probe
from weed import WeedServer

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.usefixtures("admin")]


async def race(outcomes: list[bool], calls: Sequence[Awaitable[object]]) -> None:
    """Start all at once; notes for each whether it won."""

    async def tried(call: Awaitable[object]) -> None:
        try:
            await call
            outcomes.append(True)
        except StoreConflictError:
            outcomes.append(False)

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(tried, call)


async def test_a_conditional_write_has_exactly_one_winner_of_eight(admin: S3Store) -> None:
    created: dict[str, list[bool]] = {f"{JOB}race{number}": [] for number in range(6)}
    async with anyio.create_task_group() as group:
        for key, outcomes in created.items():
            puts = [admin.put(key, bytes([number]), only_if_absent=True) for number in range(8)]
            group.start_soon(race, outcomes, puts)
    assert [sorted(outcomes) for outcomes in created.values()] == [[False] * 7 + [True]] * 6
    etags = {key: (await admin.get(key)).etag for key in created}
    swapped: dict[str, list[bool]] = {key: [] for key in created}
    async with anyio.create_task_group() as group:
        for key, outcomes in swapped.items():
            puts = [
                admin.put(key, b"n" + bytes([number]), if_match=etags[key]) for number in range(8)
            ]
            group.start_soon(race, outcomes, puts)
    assert [sorted(outcomes) for outcomes in swapped.values()] == [[False] * 7 + [True]] * 6


async def test_kill_nine_loses_no_acknowledged_object(server: WeedServer) -> None:
    acknowledged: dict[str, bytes] = {}
    impatient = S3Store(admin_credential(server), tries=1)

    async def write(worker: int) -> None:
        for number in range(1000):
            size = 5 * 1024 * 1024 if number % 20 == 0 else 2000
            key, data = f"{ONE}{worker}/{number}", os.urandom(size)
            try:
                await impatient.put(key, data)
            except StoreUnreachableError:
                return
            acknowledged[key] = data

    async with anyio.create_task_group() as group:
        for worker in range(6):
            group.start_soon(write, worker)
        with anyio.fail_after(60):
            while len(acknowledged) < 400:
                await anyio.sleep(0.005)
        server.kill()
    assert len(acknowledged) >= 400
    assert sum(len(data) > 1_000_000 for data in acknowledged.values()) >= 15
    await server.start()
    store = open_store(admin_credential(server))
    lost = [key for key, data in acknowledged.items() if (await store.get(key)).data != data]
    assert lost == []


async def test_a_call_outlives_a_restart_of_the_server(server: WeedServer, admin: S3Store) -> None:
    server.kill()
    async with anyio.create_task_group() as group:
        group.start_soon(admin.put, f"{ONE}late", b"late")
        await anyio.sleep(0.2)
        await server.start()
    assert (await admin.get(f"{ONE}late")).data == b"late"


async def test_a_server_that_is_down_or_frozen_is_unreachable_within_the_deadline(
    server: WeedServer,
) -> None:
    quick = S3Store(admin_credential(server), tries=2, answer_s=0.5)
    server.freeze()
    try:
        with anyio.fail_after(10), pytest.raises(StoreUnreachableError):
            await quick.get_range(f"{ONE}x", 0, 1)
    finally:
        server.thaw()
    server.kill()
    with anyio.fail_after(10), pytest.raises(StoreUnreachableError) as caught:
        await quick.get_range(f"{ONE}x", 0, 1)
    assert server.endpoint in str(caught.value)
    with pytest.raises(StoreUnreachableError):
        await minter(server).mint([JOB], ONE, 900)


async def test_what_is_not_there_is_missing_be_it_object_or_bucket(
    server: WeedServer, admin: S3Store
) -> None:
    for call in (
        admin.get(f"{ONE}none"),
        admin.head(f"{ONE}none"),
        admin.get_range(f"{ONE}x", 50, 1),
    ):
        with pytest.raises(StoreMissingError):
            await call
    nowhere = open_store(admin_credential(server, bucket="no-such-bucket"))
    for call in (nowhere.get("x"), nowhere.put("x", b""), keys(nowhere, "")):
        with pytest.raises(StoreMissingError) as caught:
            await call
        assert "bucket" in caught.value.why
    with pytest.raises(StoreMissingError):
        await probe(nowhere, "")


async def test_a_listing_of_several_pages_is_whole(admin: S3Store) -> None:
    wanted = {f"{OTHER}{number}" for number in range(2100)}
    async with anyio.create_task_group() as group:
        for start in range(6):
            group.start_soon(put_all, admin, sorted(wanted)[start::6])
    assert await keys(admin, OTHER) == wanted | {f"{OTHER}a1-cccccccc/x"}


async def put_all(store: S3Store, names: list[str]) -> None:
    for name in names:
        await store.put(name, b"1")
