"""Damage, in the bucket or at the source, is named, and never reaches a file."""

import os
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest

from checkpoints import JOB, MIB, credential, pack_bytes, prefix_of, save
from vaultlayer.checkpoint.cache import FileCache
from vaultlayer.checkpoint.manifest import manifest_key
from vaultlayer.checkpoint.restore import fetch_manifest, prefetch, restore
from vaultlayer.checkpoint.source import walk
from vaultlayer.checkpoint.upload import upload
from vaultlayer.checkpoint.verify import verify
from vaultlayer.errors import CheckpointError, SourceChangedError, StoreMissingError
from vaultlayer.store.s3 import S3Store, open_store
from weed import WeedServer

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

DAMAGES = ["first byte", "last byte", "shorter", "gone"]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_pack_is_named_and_nothing_is_put_in_place(
    store: S3Store, files: Path, tmp_path: Path, damage: str
) -> None:
    done = await save(store, files, attempt=1 + DAMAGES.index(damage))
    key = done.content.packs[-1].key
    data = await pack_bytes(store, key)
    if damage == "gone":
        await store.delete([key])
    elif damage == "shorter":
        await store.put(key, data[: len(data) // 3])
    else:
        data[0 if damage == "first byte" else -1] ^= 1
        await store.put(key, data)
    back = tmp_path / "back"
    back.mkdir()
    (back / "log.txt").write_text("older")
    with pytest.raises(CheckpointError) as caught:
        await restore(store, done.content, {"work": back})
    assert key in str(caught.value)
    assert {path.name for path in back.rglob("*")} == {"log.txt"}
    assert (back / "log.txt").read_text() == "older"
    with pytest.raises(CheckpointError):
        await prefetch(store, done.content, FileCache(tmp_path / "cache"))
    assert list((tmp_path / "cache/files").iterdir()) == []


async def test_a_manifest_that_is_gone_forged_or_another_is_refused(
    store: S3Store, files: Path
) -> None:
    done = await save(store, files, attempt=5)
    with pytest.raises(CheckpointError):
        await fetch_manifest(store, done.key, "0" * 64)
    with pytest.raises(CheckpointError):
        await fetch_manifest(store, done.key.replace(done.manifest, "1" * 64), "1" * 64)
    good = await store.get(done.key)
    await store.put(done.key, good.data.replace(b'"seq":1', b'"seq":2'))
    with pytest.raises(CheckpointError):
        await fetch_manifest(store, done.key, done.manifest)


async def refused(call: Awaitable[object]) -> None:
    with pytest.raises(CheckpointError):
        await call


async def test_only_a_whole_checkpoint_of_the_right_attempt_and_number_verifies(
    store: S3Store, files: Path
) -> None:
    done = await save(store, files, attempt=6, seq=9)
    own, other = prefix_of(6), prefix_of(7)
    assert await verify(store, done.key, done.manifest, prefix=own, seq=9) == done.content
    assert await verify(store, done.key, done.manifest) == done.content
    await refused(verify(store, done.key, done.manifest, prefix=own, seq=8))
    await refused(verify(store, done.key, done.manifest, prefix=other, seq=9))
    moved = manifest_key(other, done.manifest)
    await store.put(moved, (await store.get(done.key)).data)
    await refused(verify(store, moved, done.manifest, prefix=other, seq=9))
    await refused(verify(store, moved, done.manifest))
    wrong = {pack.key: pack.size_b + 1 for pack in done.content.packs}
    await refused(verify(store, done.key, done.manifest, wrong, prefix=own, seq=9))


async def test_a_checkpoint_without_all_its_packs_does_not_verify(
    store: S3Store, files: Path
) -> None:
    done = await save(store, files, attempt=8)
    key = done.content.packs[0].key
    data = await pack_bytes(store, key)
    await store.put(key, data[:-1])
    await refused(verify(store, done.key, done.manifest, prefix=prefix_of(8), seq=1))
    await store.delete([key])
    await refused(verify(store, done.key, done.manifest, prefix=prefix_of(8), seq=1))
    known = done.content.pack_sizes
    assert (
        await verify(store, done.key, done.manifest, known, prefix=prefix_of(8), seq=1)
        == done.content
    )


async def test_a_missing_bucket_is_no_damage(weed: WeedServer) -> None:
    nowhere = open_store(msgspec.structs.replace(credential(weed), bucket="no-such-bucket"))
    with pytest.raises(StoreMissingError):
        await fetch_manifest(nowhere, "k", "0" * 64)


async def test_a_manifest_found_in_place_is_ours_only_when_it_is_the_same(
    store: S3Store, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaultlayer.checkpoint.upload.time.time", partial(float, 1000))
    first = await save(store, files, attempt=9)
    again = await save(store, files, attempt=9)
    assert again.manifest == first.manifest
    await store.put(first.key, b"forged")
    await refused(save(store, files, attempt=9))


@pytest.mark.parametrize("change", ["grown", "cut", "touched", "rewritten", "deleted"])
async def test_a_file_that_changed_since_its_capture_voids_the_checkpoint(
    store: S3Store, files: Path, change: str
) -> None:
    captured = list(walk(files, "work"))
    model = files / "out/checkpoint-1/model.bin"
    match change:
        case "grown":
            with model.open("ab") as file:
                file.write(b"x")
        case "cut":
            os.truncate(model, 5)
        case "touched":
            os.utime(model, ns=(1, model.stat().st_mtime_ns + 1))
        case "rewritten":
            model.write_bytes(b"y" * model.stat().st_size)
        case _:
            model.unlink()
    with pytest.raises(SourceChangedError):
        await upload(
            store, captured, prefix=prefix_of(10), job=JOB, attempt=10, incarnation="abc", seq=1
        )
    assert [found.key async for found in store.list(f"{prefix_of(10)}manifests/")] == []


async def test_a_file_that_changes_right_after_it_was_read_voids_the_checkpoint(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.txt").write_text("step 1")
    real = os.pread

    def read_then_write(handle: int, length: int, offset: int) -> bytes:
        data = real(handle, length, offset)
        (tmp_path / "log.txt").write_text("step 2")
        return data

    monkeypatch.setattr("vaultlayer.checkpoint.upload.os.pread", read_then_write)
    with pytest.raises(SourceChangedError):
        await save(store, tmp_path, attempt=12)


async def test_a_file_that_changes_while_it_is_read_voids_the_checkpoint(
    store: S3Store, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(150 * MIB))
    captured = list(walk(source, "work"))

    async def write_late() -> None:
        with anyio.fail_after(30):
            while not [found async for found in store.list(f"{prefix_of(11)}packs/")]:
                await anyio.sleep(0.005)
        with (source / "big").open("r+b") as file:
            file.seek(149 * MIB)
            file.write(b"late")

    async with anyio.create_task_group() as group:
        group.start_soon(write_late)
        with pytest.raises(SourceChangedError):
            await upload(
                store,
                captured,
                prefix=prefix_of(11),
                job=JOB,
                attempt=11,
                incarnation="abc",
                seq=1,
                pack_b=16 * MIB,
                in_flight_b=1,
            )
