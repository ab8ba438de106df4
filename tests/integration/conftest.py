"""Fixtures of tests against real servers."""

import os
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import anyio.from_thread
import pytest

from checkpoints import MIB, credential
from stores import JOB, ONE, OTHER, TWO, admin_credential
from vaultlayer.store.s3 import S3Store, open_store
from weed import WeedServer, weed_server


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Generator[WeedServer]:
    """One S3 server for all tests of a module; they keep apart by attempt number."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(weed_server(tmp_path_factory.mktemp("weed"))) as running,
    ):
        yield running


@pytest.fixture
def store(weed: WeedServer) -> S3Store:
    """The whole bucket."""
    return open_store(credential(weed))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A small job's working directory: a model of two pieces, a link, a log."""
    top = tmp_path / "source"
    (top / "out/checkpoint-1").mkdir(parents=True)
    (top / "out/checkpoint-1/model.bin").write_bytes(os.urandom(20 * MIB + 3))
    (top / "out/checkpoint-1/state.json").write_text("{}")
    (top / "out/last").symlink_to("checkpoint-1")
    (top / "log.txt").write_text("step 1\n")
    os.utime(top / "out/checkpoint-1", ns=(1, 1_234_567_891_123_456_789))
    return top


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[WeedServer]:
    """An S3 server of this test alone, to be killed and frozen."""
    async with weed_server(tmp_path) as running:
        yield running


@pytest.fixture
async def admin(server: WeedServer) -> S3Store:
    """The whole bucket, with an object of each owner in it."""
    store = open_store(admin_credential(server))
    for key in (
        f"{ONE}x",
        f"{TWO}x",
        f"{JOB}HEAD",
        f"{JOB}code/x",
        f"{OTHER}a1-cccccccc/x",
        "elsewhere",
    ):
        await store.put(key, b"theirs")
    return store
