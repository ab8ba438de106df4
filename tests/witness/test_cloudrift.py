"""CloudRift's own client and our driver on one simulator: what each of them makes, the other one meets."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.cloudrift import DRIVER
from vaultlayer_actors.drivers.cloudrift.simulator import IMAGE, CloudRiftSimulator
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from witnesses import witness_says

pytestmark = [pytest.mark.witness, pytest.mark.anyio]

CASE = Case(kind=DRIVER, simulator=CloudRiftSimulator, need=Need(gpu="RTX4090", gpu_count=1))
# The client asks for a login's token beside the key before it rents; the API looks at the key alone.
CLIENT = """
import json, sys
from rift.client.client import RiftClient
from rift.client.public import PublicApiClient
api = PublicApiClient(RiftClient(sys.argv[1], token="unused", api_key=sys.argv[2]))
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


async def client(rig: Rig, *lines: str) -> Any:
    """Run lines that leave their answer in `out`."""
    program = "\n".join([CLIENT, *lines, "print(json.dumps(out))"])
    return await witness_says(program, rig.sim.url, rig.sim.key)


async def test_types_are_the_same_to_both(rig: Rig) -> None:
    types = await client(rig, 'out = api.instance_types.list(services=["vm"])')
    cents = {one["name"]: one["cost_per_hour"] for kind in types for one in kind["variants"]}
    offer = await rig.offer()
    assert cents[offer.offer_id.partition("@")[0]] / 100 == offer.price_usd_h


async def test_the_client_sees_and_ends_what_the_driver_made(rig: Rig) -> None:
    made = await rig.made()
    listed = await client(rig, "out = api.instances.list()")
    assert [(one["id"], one["status"]) for one in listed] == [(made.instance, "Active")]
    ended = await client(
        rig, f"api.instances.terminate({made.instance!r})", "out = api.instances.list(all=True)"
    )
    assert ended == []
    assert (await rig.driver.get(made.instance)).state == "gone"


async def test_what_the_client_rents_is_nobodys_to_the_driver(rig: Rig) -> None:
    made = await rig.made()
    stranger = await client(
        rig,
        f"vm = {{'image_url': {IMAGE!r}, 'ssh_key': {{'PublicKeys': []}}}}",
        "selector = {'instance_type': 'rtx49-10c-kn.1', 'datacenters': ['eu-west-1']}",
        "data = {'selector': {'ByInstanceTypeAndLocation': selector},",
        "        'with_public_ip': True, 'config': {'VirtualMachine': vm}}",
        "url = f'{api.instances.api_root}/rent'",
        "out = api.client._make_request('post', url=url, data=data)['instance_ids'][0]",
    )
    assert stranger in rig.sim.fleet.machines
    assert [one.instance for one in await rig.driver.list()] == [made.instance]
