"""Vast.ai's own command line client (`vastai`) and our driver at one simulator."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.vast import DRIVER
from vaultlayer_actors.drivers.vast.simulator import VastSimulator
from witnesses import witness_runs

pytestmark = [pytest.mark.witness, pytest.mark.anyio]

CASE = Case(kind=DRIVER, simulator=VastSimulator, need=Need(gpu="RTX4090", gpu_count=1))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


async def vastai(rig: Rig, *arguments: str) -> Any:
    environ = {"VAST_URL": rig.sim.url, "VAST_API_KEY": rig.sim.key}
    out = await witness_runs("vastai", *arguments, **environ)
    return json.loads(out) if "--raw" in arguments and out.strip() else out


async def test_the_client_finds_offers_in_its_own_query_language(rig: Rig) -> None:
    one = "gpu_name=RTX_4090 num_gpus=1"
    rows = await vastai(rig, "search", "offers", f"{one} dph<0.42", "--raw")
    assert [(row["gpu_name"], row["dph_base"]) for row in rows] == [("RTX 4090", 0.40)]
    bids = await vastai(rig, "search", "offers", one, "--type=bid", "--raw")
    assert {row["is_bid"] for row in bids} == {True}


async def test_the_client_creates_lists_bids_and_ends(rig: Rig) -> None:
    made = await vastai(
        rig,
        *("create", "instance", "12345601", "--image", "repo/img:tag", "--disk", "16"),
        *("--label", "theirs", "--bid_price", "0.25", "--env", "-e A=b", "--raw"),
        *("--onstart-cmd", "sleep 60"),
    )
    (machine,) = rig.sim.fleet.machines.values()
    assert made["new_contract"] == int(machine.id)
    assert (machine.name, machine.env["A"]) == ("theirs", "b")
    (row,) = await vastai(rig, "show", "instances", "--raw")
    assert (row["label"], row["is_bid"]) == ("theirs", True)
    assert await rig.driver.list() == []
    await vastai(rig, "change", "bid", machine.id, "--price", "0.30")
    assert machine.spec["bid"] == 0.30
    await vastai(rig, "destroy", "instance", machine.id, "-y", "--raw")
    assert rig.sim.fleet.ledger.billed() == []


async def test_the_client_sees_our_machine_and_ends_it(rig: Rig) -> None:
    made = await rig.made()
    (row,) = await vastai(rig, "show", "instances", "--raw")
    assert (str(row["id"]), row["label"]) == (made.instance, made.name)
    await vastai(rig, "destroy", "instance", made.instance, "-y", "--raw")
    assert (await rig.driver.get(made.instance)).state == "gone"
