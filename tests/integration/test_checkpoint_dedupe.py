"""What the bucket, the cache or the disk already holds is neither sent nor fetched again."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from checkpoints import MIB, picture, prefix_of, safetensors, save
from vaultlayer.checkpoint.cache import FileCache
from vaultlayer.checkpoint.manifest import PIECE_MOST_B
from vaultlayer.checkpoint.restore import prefetch, restore
from vaultlayer.checkpoint.source import KnownFiles, walk
from vaultlayer.checkpoint.verify import verify
from vaultlayer.store.s3 import S3Store

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

LONG_AGO_NS = 1_000_000_000_000_000_000


async def test_when_only_adapters_change_only_adapters_are_sent(
    store: S3Store, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    base = {f"layer{n:02}.weight": os.urandom(MIB) for n in range(24)}

    def write(seed: bytes) -> int:
        adapters = {
            f"layer{n:02}.lora": hashlib.shake_256(bytes([n]) + seed).digest(65536)
            for n in range(24)
        }
        merged = dict(sorted((base | adapters).items()))
        (source / "model.safetensors").write_bytes(safetensors(merged))
        return sum(map(len, adapters.values()))

    write(b"1")
    first = await save(store, source)
    changed_b = write(b"2")
    second = await save(store, source, attempt=2, parent=first.content)
    assert second.content.parent == first.manifest
    assert changed_b <= second.new_b <= 1.1 * changed_b
    known = first.content.pack_sizes
    manifest = await verify(store, second.key, second.manifest, known, prefix=prefix_of(2), seq=1)
    await restore(store, manifest, {"work": tmp_path / "back"})
    assert picture(tmp_path / "back") == picture(source)


async def test_a_known_file_is_not_even_read_and_a_changed_one_is(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    model = files / "out/checkpoint-1/model.bin"
    os.utime(model, ns=(1, LONG_AGO_NS))
    known = KnownFiles()
    first = await save(store, files, known=known, attempt=3)
    # The same size and time with other bytes: only a reader could see it, so it shows who reads.
    with model.open("r+b") as file:
        file.write(b"unseen")
    os.utime(model, ns=(1, LONG_AGO_NS))
    second = await save(store, files, attempt=3, seq=2, parent=first.content, known=known)
    assert second.new_b == 0
    os.utime(model, ns=(1, LONG_AGO_NS + 1))
    third = await save(store, files, attempt=3, seq=3, parent=second.content, known=known)
    assert third.new_b == PIECE_MOST_B
    await restore(store, third.content, {"work": tmp_path / "back"})
    assert picture(tmp_path / "back") == picture(files)


async def test_a_file_written_to_a_moment_ago_is_not_trusted(store: S3Store, files: Path) -> None:
    known = KnownFiles()
    model = files / "out/checkpoint-1/model.bin"
    first = await save(store, files, known=known, attempt=4)
    before = model.stat()
    with model.open("r+b") as file:
        file.write(b"within one tick of the clock")
    os.utime(model, ns=(1, before.st_mtime_ns))
    second = await save(store, files, attempt=4, seq=2, parent=first.content, known=known)
    assert second.new_b == PIECE_MOST_B


async def test_what_a_restore_wrote_is_not_read_by_the_next_upload(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    for one in walk(files, "work"):
        os.utime(one.path, ns=(1, LONG_AGO_NS), follow_symlinks=False)
    first = await save(store, files, attempt=5)
    known = KnownFiles()
    back = tmp_path / "back"
    await restore(store, first.content, {"work": back}, known=known)
    with (back / "out/checkpoint-1/model.bin").open("r+b") as file:
        file.write(b"unseen")
    os.utime(back / "out/checkpoint-1/model.bin", ns=(1, LONG_AGO_NS))
    second = await save(store, back, attempt=6, parent=first.content, known=known)
    assert second.new_b == 0


async def test_a_cached_checkpoint_makes_the_next_one_cheap(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    first = await save(store, files, attempt=7)
    cache = FileCache(tmp_path / "cache")
    assert (await prefetch(store, first.content, cache)).fetched_b == first.size_b
    assert (await prefetch(store, first.content, cache)).fetched_b == 0
    with (files / "out/checkpoint-1/model.bin").open("r+b") as file:
        file.write(b"new")
    second = await save(store, files, attempt=7, seq=2, parent=first.content)
    found = await restore(store, second.content, {"work": tmp_path / "back"}, cache=cache)
    assert found.fetched_b == second.new_b == PIECE_MOST_B
    assert picture(tmp_path / "back") == picture(files)


async def test_a_cache_holds_one_checkpoint_and_no_more(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    cache = FileCache(tmp_path / "cache")
    for seq in range(3):
        (files / "log.txt").write_text(f"step {seq}")
        done = await save(store, files, attempt=8, seq=seq)
        await prefetch(store, done.content, cache)
    assert len(list((tmp_path / "cache/files").iterdir())) == 3
    assert len(list((tmp_path / "cache/manifests").iterdir())) == 1


async def test_a_damaged_cache_is_noticed_and_fetched_again(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    done = await save(store, files, attempt=9)
    await prefetch(store, done.content, FileCache(tmp_path / "cache"))
    for path in (tmp_path / "cache/files").iterdir():
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    found = await restore(
        store, done.content, {"work": tmp_path / "back"}, cache=tmp_path / "cache"
    )
    assert found.fetched_b > 0
    assert picture(tmp_path / "back") == picture(files)


async def test_files_already_in_place_are_only_stamped_and_strangers_left_alone(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    done = await save(store, files, attempt=10)
    back = tmp_path / "back"
    await restore(store, done.content, {"work": back})
    model = back / "out/checkpoint-1/model.bin"
    model.chmod(0o600)
    os.utime(model, ns=(1, 1))
    inode = model.stat().st_ino
    (back / "mine.txt").write_text("not in the manifest")
    found = await restore(store, done.content, {"work": back})
    assert found.fetched_b == 0
    assert model.stat().st_ino == inode
    assert (back / "mine.txt").read_text() == "not in the manifest"
    (back / "mine.txt").unlink()
    assert picture(back) == picture(files)


async def test_a_file_of_the_same_size_and_other_bytes_is_replaced(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    done = await save(store, files, attempt=11)
    shutil.copytree(files, tmp_path / "back", symlinks=True)
    with (tmp_path / "back/out/checkpoint-1/model.bin").open("r+b") as file:
        file.write(b"other")
    await restore(store, done.content, {"work": tmp_path / "back"})
    assert picture(tmp_path / "back") == picture(files)
