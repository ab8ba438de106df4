"""The bus through a websocket, as behind a tunnel that passes HTTP only."""

from pathlib import Path

import pytest
from nats.aio import transport

from servers import free_ports, running_nats
from vaultlayer import subjects
from vaultlayer.bus.nats import open_bus
from vaultlayer.ids import ActorId
from vaultlayer.messages import Done

pytestmark = [
    pytest.mark.integration,
    pytest.mark.anyio,
    # How the client library calls aiohttp is its own matter.
    pytest.mark.filterwarnings("ignore:parameter 'timeout':DeprecationWarning"),
]


async def test_a_websocket_address_connects_although_the_start_leaves_out_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a fresh process; here another test may have imported it.
    monkeypatch.setattr(transport, "aiohttp", None)
    monkeypatch.setattr(transport, "multidict", None)
    (port,) = free_ports(1)
    extra = f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}'
    inbox = subjects.actor_inbox(ActorId("tester-one"))

    async def answer(_subject: str, _payload: bytes) -> Done:
        return Done()

    with running_nats(tmp_path, extra=extra):
        async with (
            open_bus([f"ws://127.0.0.1:{port}"], None, inbox=inbox, name="tester") as bus,
            bus.serve("vl.test.ask", answer),
        ):
            assert await bus.request("vl.test.ask", Done(), Done) == Done()
