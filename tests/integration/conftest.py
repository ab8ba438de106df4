"""Fixtures of tests against real servers."""

import os
from collections.abc import Generator
from pathlib import Path

import anyio.from_thread
import pytest

from checkpoints import MIB, credential
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
