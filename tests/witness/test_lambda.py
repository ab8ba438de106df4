"""A Lambda client by somebody else (`lambda-ai-cloud-api-client`) and our driver at one simulator."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.lambda_cloud import DRIVER
from vaultlayer_actors.drivers.lambda_cloud.simulator import LambdaSimulator
from witnesses import witness_runs

pytestmark = [pytest.mark.witness, pytest.mark.anyio]

CASE = Case(kind=DRIVER, simulator=LambdaSimulator, need=Need(gpu="A10", gpu_count=1))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        assert isinstance(made.sim, LambdaSimulator)
        # A person's client does not space its calls, and the simulator's time stands still.
        made.sim.limits_s = {}
        yield made


async def lai(rig: Rig, *arguments: str) -> Any:
    environ = {"LAMBDA_CLOUD_BASE_URL": rig.sim.url, "LAMBDA_CLOUD_TOKEN": rig.sim.key}
    out = await witness_runs("lai", *arguments, **environ)
    return json.loads(out) if "--json" in arguments else out


async def test_the_client_reads_types_images_and_keys(rig: Rig) -> None:
    rows = await lai(rig, "types", "--gpu", "H100", "--json")
    names = {row["instance_type"]["name"] for row in rows}
    assert {"gpu_1x_h100_pcie", "gpu_8x_h100_sxm5"} <= names
    assert "lambda-stack-24-04" in await lai(rig, "images")
    assert "somebodys-laptop" in await lai(rig, "keys")


async def test_the_client_launches_lists_and_ends(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "user-data").write_text("#!/bin/sh\necho told\n")
    await lai(
        rig,
        *("start", "--instance-type", "gpu_1x_a10", "--region", "us-west-1"),
        *("--ssh-key", "ci", "--name", "theirs", "--tag", "team=x"),
        *("--user-data-file", str(tmp_path / "user-data"), "--json"),
    )
    (row,) = await lai(rig, "ls", "--json")
    assert (row["name"], row["tags"]) == ("theirs", [{"key": "team", "value": "x"}])
    assert rig.sim.fleet.machines[row["id"]].script == "#!/bin/sh\necho told\n"
    assert await rig.driver.list() == []
    await lai(rig, "stop", row["id"])
    assert rig.sim.fleet.ledger.billed() == []


async def test_the_client_sees_our_machine_and_ends_it(rig: Rig) -> None:
    made = await rig.made()
    (row,) = await lai(rig, "ls", "--json")
    assert (row["id"], row["name"]) == (made.instance, made.name)
    assert {"key": "vaultlayer", "value": made.name} in row["tags"]
    await lai(rig, "stop", made.name)
    assert (await rig.driver.get(made.instance)).state == "gone"
