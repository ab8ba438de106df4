"""Hyperstack's own client and our driver on one simulator: each sees what the other made."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.hyperstack import DRIVER
from vaultlayer_actors.drivers.hyperstack.simulator import HyperstackSimulator
from witnesses import witness_says

pytestmark = [pytest.mark.witness, pytest.mark.anyio]

CASE = Case(kind=DRIVER, simulator=HyperstackSimulator, need=Need(gpu="A100_80", gpu_count=1))
CLIENT = """
import json, sys
import hyperstack
setup = hyperstack.Configuration(host=sys.argv[1])
setup.api_key["apiKey"] = sys.argv[2]
api = hyperstack.ApiClient(setup)
api.set_default_header("api_key", sys.argv[2])
vms = hyperstack.VirtualMachineApi(api)
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


async def client(rig: Rig, *lines: str) -> Any:
    """Run lines that leave their answer in `out`."""
    program = "\n".join([CLIENT, *lines, "print(json.dumps(out, default=str))"])
    return await witness_says(program, rig.sim.url, rig.sim.key)


async def test_flavours_and_prices_are_the_same_to_both(rig: Rig) -> None:
    flavors = await client(rig, "out = hyperstack.FlavorApi(api).list_flavors().to_dict()['data']")
    names = {row["name"] for group in flavors for row in group["flavors"]}
    prices = await client(
        rig, "out = [one.to_dict() for one in hyperstack.PricebookApi(api).get_pricebook()]"
    )
    offer = await rig.offer()
    assert offer.offer_id.partition("@")[0] in names
    assert {row["name"]: row["value"] for row in prices}["A100-80G-PCIe"] == 1.35


async def test_the_client_sees_and_deletes_what_the_driver_made(rig: Rig) -> None:
    made = await rig.made()
    listed = await client(rig, "out = vms.list_vms().to_dict()")
    assert listed["count"] == 1
    (one,) = listed["instances"]
    assert (str(one["id"]), one["name"], one["labels"]) == (
        made.instance,
        made.name,
        ["vaultlayer"],
    )
    seen = await client(rig, f"out = vms.get_vm({made.instance}).to_dict()['instance']")
    assert (seen["status"], seen["vm_state"]) == ("ACTIVE", "active")
    done = await client(rig, f"out = vms.delete_vm({made.instance}).to_dict()")
    assert done["status"] is True
    assert (await rig.driver.get(made.instance)).state == "gone"


async def test_the_driver_sees_what_the_client_made_with_our_label(rig: Rig) -> None:
    out = await client(
        rig,
        "payload = hyperstack.CreateInstancesPayload(name='vl-jabcdefgh2-a1', count=1,",
        "    environment_name='default-CANADA-1', image_name='Ubuntu', flavor_name='n3-L40x1',",
        "    key_name='vaultlayer', labels=['vaultlayer'], user_data='#!/bin/sh',",
        "    assign_floating_ip=True)",
        "out = vms.create_vms(payload).to_dict()['instances'][0]",
    )
    assert out["status"] == "CREATING"
    (seen,) = await rig.driver.list()
    assert (seen.instance, seen.name) == (str(out["id"]), "vl-jabcdefgh2-a1")


async def test_a_name_can_be_asked_for_as_the_client_does(rig: Rig) -> None:
    made = await rig.made()
    program = f"out = vms.check_vm_name_availability({made.name!r}).to_dict()['available']"
    assert await client(rig, program) is False
