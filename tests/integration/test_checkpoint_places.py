"""A restore on a hostile or full machine, and an upload through a failing store."""

import os
import resource
import signal
from pathlib import Path

import anyio
import msgspec
import pytest

from checkpoints import JOB, MIB, credential, picture, prefix_of, save
from vaultlayer.checkpoint import placing
from vaultlayer.checkpoint.manifest import PIECE_MOST_B, Manifest
from vaultlayer.checkpoint.restore import fetch_manifest, restore
from vaultlayer.checkpoint.retention import Aged, sweepable
from vaultlayer.checkpoint.source import TEMP_PREFIX, walk
from vaultlayer.checkpoint.upload import Uploaded, upload
from vaultlayer.checkpoint.verify import verify
from vaultlayer.errors import CheckpointError, DiskError, DiskFullError, StoreDeniedError
from vaultlayer.store.s3 import S3Store, open_store
from weed import WeedServer, weed_server

pytestmark = [pytest.mark.integration, pytest.mark.anyio]


async def test_a_full_disk_is_told_before_a_byte_is_fetched(
    store: S3Store, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await save(store, files)

    def small(_path: object) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 10, 10, 10, 10, 10, 10, 0, 255))

    monkeypatch.setattr(placing.os, "statvfs", small)
    with pytest.raises(DiskFullError) as caught:
        await restore(store, done.content, {"work": tmp_path / "back"})
    assert str(tmp_path / "back") in str(caught.value)
    assert str(done.size_b) in str(caught.value)
    assert list((tmp_path / "back").iterdir()) == []


async def test_a_disk_that_fills_up_meanwhile_leaves_what_was_there(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    done = await save(store, files, attempt=2)
    # No file of this process may grow above the limit: the kernel's own way to fail a write.

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    try:
        with pytest.raises(DiskError) as caught:
            await restore(store, done.content, {"work": tmp_path / "back"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(tmp_path / "back") in str(caught.value)
    assert list((tmp_path / "back").iterdir()) == []


async def test_a_hostile_link_in_place_is_never_followed(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    done = await save(store, files, attempt=3)
    victim, back = tmp_path / "victim", tmp_path / "back"
    (victim / "checkpoint-1").mkdir(parents=True)
    (victim / "log.txt").write_text("precious")
    back.mkdir()
    (back / "out").symlink_to(victim)
    (back / "log.txt").symlink_to(victim / "log.txt")
    before = picture(victim)
    await restore(store, done.content, {"work": back})
    assert picture(victim) == before
    assert picture(back) == picture(files)


async def test_an_implied_directory_replaces_a_link_too(store: S3Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "out").mkdir(parents=True)
    (source / "out/model").write_bytes(b"weights")
    captured = [one for one in walk(source, "work") if one.kind == "file"]
    done = await upload(
        store, captured, prefix=prefix_of(4), job=JOB, attempt=4, incarnation="abc", seq=1
    )
    victim, back = tmp_path / "victim", tmp_path / "back"
    victim.mkdir()
    back.mkdir()
    (back / "out").symlink_to(victim)
    await restore(store, done.content, {"work": back})
    assert list(victim.iterdir()) == []
    assert (back / "out/model").read_bytes() == b"weights"


async def test_a_full_directory_in_the_way_of_a_file_is_an_error_that_names_it(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    done = await save(store, files, attempt=5)
    (tmp_path / "back/log.txt/inside").mkdir(parents=True)
    with pytest.raises(DiskError) as caught:
        await restore(store, done.content, {"work": tmp_path / "back"})
    assert "log.txt" in str(caught.value)
    assert not list((tmp_path / "back").rglob(f"{TEMP_PREFIX}*"))


async def test_a_place_whose_root_held_nothing_is_there_and_empty(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    done = await save(store, files, attempt=9)
    places = {"work": tmp_path / "back", "base": tmp_path / "base"}
    await restore(store, done.content, places)
    assert list((tmp_path / "base").iterdir()) == []


async def test_a_root_without_a_place_is_refused(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    done = await save(store, files, attempt=6)
    with pytest.raises(CheckpointError):
        await restore(store, done.content, {"out0": tmp_path / "back"})


async def test_an_upload_goes_on_when_the_server_is_killed_and_comes_back(
    tmp_path: Path, files: Path
) -> None:
    (files / "big").write_bytes(os.urandom(60 * MIB))
    async with weed_server(tmp_path) as own:
        store = open_store(credential(own))
        done: list[Uploaded] = []

        async def work() -> None:
            done.append(await save(store, files, pack_b=PIECE_MOST_B))

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            with anyio.fail_after(30):
                while not [found async for found in store.list(f"{prefix_of(1)}packs/")]:
                    await anyio.sleep(0.01)
            own.kill()
            await own.start()
        manifest = await verify(store, done[0].key, done[0].manifest, prefix=prefix_of(1), seq=1)
        await restore(store, manifest, {"work": tmp_path / "back"})
        assert picture(tmp_path / "back") == picture(files)


async def test_a_refusal_ends_an_upload_at_once_and_with_one_error(
    weed: WeedServer, files: Path
) -> None:
    denied = open_store(msgspec.structs.replace(credential(weed), secret_key="wrong"))
    with pytest.raises(StoreDeniedError), anyio.fail_after(10):
        await save(denied, files, attempt=7)


async def test_a_sweep_leaves_every_live_checkpoint_restorable(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    model = files / "out/checkpoint-1/model.bin"
    saved: list[tuple[Uploaded, dict[str, tuple[object, ...]]]] = []
    parent: Manifest | None = None
    for number in range(5):
        with model.open("r+b") as file:
            file.write(os.urandom(100))
        (files / f"only-{number}.bin").write_bytes(os.urandom(MIB))
        (files / f"only-{number - 2}.bin").unlink(missing_ok=True)
        done = await save(store, files, attempt=20 + number // 2, seq=number + 1, parent=parent)
        saved.append((done, picture(files)))
        parent = done.content
    manifests = {done.manifest: list(done.content.pack_sizes) for done, _ in saved}
    keep = {saved[1][0].manifest, saved[4][0].manifest}
    objects = [
        Aged(found.key, found.modified_s)
        for attempt in (20, 21, 22)
        async for found in store.list(prefix_of(attempt))
    ]
    now_s = max(one.modified_s for one in objects)
    assert sweepable(manifests, keep, objects, now_s) == []
    dead = sweepable(manifests, keep, objects, now_s + 10, grace_s=5)
    assert len(dead) >= 4
    await store.delete(dead)
    for done, expected in saved:
        if done.manifest in keep:
            manifest = await fetch_manifest(store, done.key, done.manifest)
            await restore(store, manifest, {"work": tmp_path / done.manifest})
            assert picture(tmp_path / done.manifest) == expected
        else:
            with pytest.raises(CheckpointError):
                await fetch_manifest(store, done.key, done.manifest)
