"""RunPod's own client speaks GraphQL, our driver REST v2: on one simulator each sees the pods of both."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.runpod import DRIVER
from vaultlayer_actors.drivers.runpod.simulator import RunpodSimulator
from witnesses import witness_says

pytestmark = [pytest.mark.witness, pytest.mark.anyio, pytest.mark.timeout(180)]

CASE = Case(
    kind=DRIVER,
    simulator=RunpodSimulator,
    need=Need(gpu="RTX4090", gpu_count=1),
    options={"bids": True},
)
GPU = "NVIDIA GeForce RTX 4090"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


async def client(rig: Rig, expression: str) -> Any:
    """Give what an expression of the client's functions gives; an error of its own as text."""
    program = f"""
import json, runpod
runpod.api_key = {rig.sim.key!r}
try:
    out = {expression}
except (runpod.error.QueryError, ValueError) as error:
    out = str(error)
print(json.dumps(out))
"""
    return await witness_says(program, RUNPOD_API_BASE_URL=rig.sim.url)


async def test_the_client_reads_the_types_of_gpus(rig: Rig) -> None:
    rows = await client(rig, "runpod.get_gpus()")
    assert {row["id"]: row["memoryInGb"] for row in rows}[GPU] == 24
    row = await client(rig, f"runpod.get_gpu({GPU!r})")
    bids = [one for one in (await rig.driver.offers(CASE.need)).offers if one.spot]
    assert row["lowestPrice"]["minimumBidPrice"] in {one.floor_usd_h for one in bids}
    assert "No GPU found" in await client(rig, "runpod.get_gpu('none')")


async def test_the_client_creates_reads_stops_and_ends(rig: Rig) -> None:
    env = {"A": "b"}
    made = await client(
        rig, f"runpod.create_pod('theirs', 'repo/img:tag', {GPU!r}, docker_args='', env={env})"
    )
    machine = rig.sim.fleet.machines[made["id"]]
    assert (machine.name, machine.env) == ("theirs", env)
    (row,) = await client(rig, "runpod.get_pods()")
    assert (row["id"], row["desiredStatus"]) == (made["id"], "RUNNING")
    stopped = await client(rig, f"runpod.stop_pod({made['id']!r})")
    assert stopped["desiredStatus"] == "EXITED"
    await client(rig, f"runpod.terminate_pod({made['id']!r})")
    assert await client(rig, f"runpod.get_pod({made['id']!r})") is None
    again = await client(rig, f"runpod.terminate_pod({made['id']!r})")
    assert again == "pod not found to terminate"
    assert rig.sim.fleet.ledger.billed() == []


async def test_the_client_sees_what_we_made_in_both_ways_and_ends_it(rig: Rig) -> None:
    for offer in (await rig.driver.offers(CASE.need)).offers[:3]:
        made = await rig.driver.create(await rig.order(offer))
        row = await client(rig, f"runpod.get_pod({made.instance!r})")
        assert (row["name"], row["podType"]) == (
            made.name,
            "INTERRUPTABLE" if offer.spot else "RESERVED",
        )
        await client(rig, f"runpod.terminate_pod({made.instance!r})")
        assert (await rig.driver.get(made.instance)).state == "gone"
    assert json.dumps(await client(rig, "runpod.get_pods()")) == "[]"
