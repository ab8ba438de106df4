"""Fixtures that many tests share."""

from collections.abc import Generator
from pathlib import Path

import pytest

from servers import NatsServer, running_nats


@pytest.fixture
def anyio_backend() -> str:
    """The one backend: the bus's client speaks asyncio."""
    return "asyncio"


@pytest.fixture
def nats_server(tmp_path: Path) -> Generator[NatsServer]:
    """A real nats-server of this test alone; for a shared one use `servers.running_nats`."""
    with running_nats(tmp_path) as server:
        yield server
