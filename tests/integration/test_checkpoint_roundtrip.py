"""Every file comes back bit for bit, with its mode and its time."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpoints import JOB, MIB, credential, picture, prefix_of, safetensors, save
from vaultlayer.checkpoint.cache import FileCache
from vaultlayer.checkpoint.manifest import PIECE_MOST_B, encode_manifest, manifest_id
from vaultlayer.checkpoint.restore import prefetch, restore
from vaultlayer.checkpoint.source import TEMP_PREFIX, source_file, walk
from vaultlayer.checkpoint.upload import upload
from vaultlayer.checkpoint.verify import verify
from vaultlayer.store.s3 import S3Store, open_store
from weed import WeedServer

pytestmark = [pytest.mark.integration]


class Link(msgspec.Struct, frozen=True):
    """A symbolic link to be made."""

    target: bytes


def is_name(part: bytes) -> bool:
    return b"/" not in part and b"\0" not in part and part not in {b".", b".."}


def repeated(seed: tuple[bytes, int]) -> bytes:
    return (seed[0] * seed[1])[: seed[1]]


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(NAMES, inner, max_size=5)


NAMES = st.binary(min_size=1, max_size=12).filter(is_name)
CONTENTS: st.SearchStrategy[Any] = st.one_of(
    st.just(b""),
    st.binary(max_size=200),
    st.tuples(st.binary(min_size=1), st.integers(1, 200_000)).map(repeated),
    st.dictionaries(st.text("abc", min_size=1), st.binary(max_size=40_000)).map(safetensors),
)
TREES = nested(st.recursive(st.one_of(CONTENTS, NAMES.map(Link)), nested, max_leaves=12))


def build(
    top: Path, tree: dict[bytes, Any], mode: Callable[[], int], time_ns: Callable[[], int]
) -> None:
    for name, node in tree.items():
        path = top / os.fsdecode(name)
        if isinstance(node, Link):
            path.symlink_to(os.fsdecode(node.target))
        elif isinstance(node, bytes):
            path.write_bytes(node)
            path.chmod(mode())
        else:
            path.mkdir()
            build(path, node, mode, time_ns)
            path.chmod(mode() | 0o500)
        os.utime(path, ns=(time_ns(), time_ns()), follow_symlinks=False)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), tree=TREES)
def test_every_tree_comes_back_bit_for_bit_with_modes_and_times(
    weed: WeedServer, tmp_path: Path, data: st.DataObject, tree: dict[bytes, Any]
) -> None:
    work = tmp_path / os.urandom(6).hex()
    source = work / "source"
    source.mkdir(parents=True)
    dice = data.draw(st.randoms(use_true_random=False))
    build(
        source, tree, lambda: dice.randrange(0o1000), lambda: dice.randrange(-(10**18), 4 * 10**18)
    )

    async def there_and_back() -> None:
        store = open_store(credential(weed))
        done = await save(store, source)
        manifest = await verify(store, done.key, done.manifest, prefix=prefix_of(1), seq=1)
        await restore(store, manifest, {"work": work / "back"})
        assert picture(work / "back") == picture(source)
        cache = FileCache(work / "cache")
        await prefetch(store, manifest, cache)
        found = await restore(store, manifest, {"work": work / "again"}, cache=cache)
        assert picture(work / "again") == picture(source)
        assert found.fetched_b == 0

    anyio.run(there_and_back)
    shutil.rmtree(work)


@pytest.mark.anyio
async def test_real_torch_and_safetensors_files_come_back_and_load(
    store: S3Store, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    torch_files = pytest.importorskip("safetensors.torch")
    source = tmp_path / "source"
    source.mkdir()
    state = {f"layer.{n}": torch.randn(400, 300) for n in range(40)}
    torch_files.save_file(state, source / "model.safetensors")
    torch.save({"state": state, "step": 3}, source / "optimizer.pt")
    done = await save(store, source, attempt=2)
    await restore(store, done.content, {"work": tmp_path / "back"})
    assert picture(tmp_path / "back") == picture(source)
    loaded = torch.load(tmp_path / "back/optimizer.pt")
    assert all(torch.equal(loaded["state"][name], value) for name, value in state.items())


@pytest.mark.anyio
async def test_files_larger_than_pieces_and_packs_come_back_and_twins_are_sent_once(
    store: S3Store, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(100 * MIB + 1))
    (source / "twin").write_bytes((source / "big").read_bytes())
    done = await save(store, source, attempt=3, pack_b=PIECE_MOST_B, in_flight_b=1)
    assert (done.size_b, done.new_b) == (2 * (100 * MIB + 1), 100 * MIB + 1)
    cache = FileCache(tmp_path / "cache")
    await prefetch(store, done.content, cache)
    await restore(store, done.content, {"work": tmp_path / "back"}, cache=cache)
    assert picture(tmp_path / "back") == picture(source)
    assert (tmp_path / "back/big").stat().st_ino != (tmp_path / "back/twin").stat().st_ino


@pytest.mark.anyio
async def test_a_code_bundle_is_a_checkpoint_of_attempt_nought(
    store: S3Store, files: Path, tmp_path: Path
) -> None:
    code = f"jobs/{JOB}/code/"
    done = await upload(
        store, list(walk(files, "work")), prefix=code, job=JOB, attempt=0, incarnation="", seq=0
    )
    assert done.key == f"{code}manifests/{done.manifest}.json"
    await verify(store, done.key, done.manifest)
    first = await save(store, files, attempt=4, parent=done.content)
    assert first.new_b == 0
    await restore(store, first.content, {"work": tmp_path / "back"})
    assert picture(tmp_path / "back") == picture(files)


@pytest.mark.anyio
async def test_no_files_at_all_are_a_checkpoint_too(store: S3Store, tmp_path: Path) -> None:
    done = await save(store, tmp_path, attempt=5)
    assert (done.size_b, done.new_b, done.files) == (0, 0, 0)
    assert manifest_id(encode_manifest(done.content)) == done.manifest
    await restore(store, done.content, {})


def test_what_cannot_be_saved_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / f"{TEMP_PREFIX}abc").write_text("half restored")
    (tmp_path / "good").touch()
    (tmp_path / "skipped").mkdir()
    (tmp_path / "skipped/inside").touch()
    (tmp_path / "link").symlink_to(tmp_path / "skipped")
    found = walk(tmp_path, "work", lambda name, _is_dir: name != "skipped")
    assert [(one.name, one.kind) for one in found] == [("good", "file"), ("link", "symlink")]
    assert source_file(tmp_path / "gone", "work", "gone") is None


def test_modes_that_would_run_as_another_user_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "tool").touch()
    (tmp_path / "tool").chmod(0o4755)
    found = source_file(tmp_path / "tool", "work", "tool")
    assert found is not None
    assert found.mode == 0o755
