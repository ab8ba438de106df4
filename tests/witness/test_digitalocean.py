"""DigitalOcean's own client and our driver on one simulator over TLS: each sees what the other made."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.digitalocean import DRIVER
from vaultlayer_actors.drivers.digitalocean.simulator import DigitalOceanSimulator
from vaultlayer_actors.simulator.clock import VirtualClock
from witnesses import certificate, witness_says

pytestmark = [pytest.mark.witness, pytest.mark.anyio]

CLIENT = """
import json, sys
from pydo import Client
do = Client(token=sys.argv[2], endpoint=sys.argv[1])
"""


@dataclass
class Stage:
    rig: Rig
    ca_file: str

    async def pydo(self, *lines: str) -> Any:
        """Run lines that leave their answer in `out`."""
        program = "\n".join([CLIENT, *lines, "print(json.dumps(out))"])
        return await witness_says(
            program, self.rig.sim.url, self.rig.sim.key, REQUESTS_CA_BUNDLE=self.ca_file
        )


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage]:
    context, ca_file = await certificate(tmp_path)
    clock = VirtualClock()
    simulator = DigitalOceanSimulator(clock)
    need = Need(gpu="H100_80", gpu_count=1)
    case = Case(
        kind=DRIVER, simulator=DigitalOceanSimulator, need=need, options={"ca_file": ca_file}
    )
    async with simulator.serve(tls=context) as url:
        assert url.startswith("https://")
        rig = Rig(case, simulator, clock, tmp_path)
        yield Stage(rig, ca_file)
        await rig.driver.close()


async def test_sizes_are_the_same_to_both(stage: Stage) -> None:
    sizes = await stage.pydo('out = do.sizes.list(per_page=200)["sizes"]')
    gpus = {row["slug"]: row for row in sizes if row.get("gpu_info")}
    offer = await stage.rig.offer()
    row = gpus[offer.offer_id.partition("@")[0]]
    assert (row["price_hourly"], row["gpu_info"]["model"]) == (offer.price_usd_h, "nvidia_h100")


async def test_the_client_sees_and_destroys_what_the_driver_made(stage: Stage) -> None:
    made = await stage.rig.made()
    listed = await stage.pydo('out = do.droplets.list(type="gpus")["droplets"]')
    assert [(str(one["id"]), one["name"], one["tags"]) for one in listed] == [
        (made.instance, made.name, ["vaultlayer"])
    ]
    assert await stage.pydo('out = do.droplets.list()["droplets"]') == []
    one = await stage.pydo(f'out = do.droplets.get({made.instance})["droplet"]')
    assert one["status"] == "active"
    await stage.pydo(f"out = do.droplets.destroy({made.instance})")
    assert (await stage.rig.driver.get(made.instance)).state == "gone"


async def test_the_driver_sees_what_the_client_made_with_our_tag(stage: Stage) -> None:
    body = {
        "name": "vl-jabcdefgh2-a1",
        "region": "nyc2",
        "size": "gpu-h100x1-80gb",
        "image": "gpu-h100x1-base",
        "tags": ["vaultlayer"],
        "user_data": "#!/bin/sh\n",
    }
    droplet = await stage.pydo(f'out = do.droplets.create(body={body!r})["droplet"]')
    assert droplet["status"] == "new"
    (seen,) = await stage.rig.driver.list()
    assert (seen.instance, seen.name) == (str(droplet["id"]), "vl-jabcdefgh2-a1")


async def test_both_read_the_same_out_of_a_refusal(stage: Stage) -> None:
    body = {"name": "x", "region": "moon", "size": "gpu-h100x1-80gb", "image": "gpu-h100x1-base"}
    out = await stage.pydo(
        "from azure.core.exceptions import HttpResponseError",
        "try:",
        f"    do.droplets.create(body={body!r})",
        "    out = None",
        "except HttpResponseError as error:",
        "    out = [error.status_code, error.reason]",
    )
    assert out is not None
    assert out[0] == 422
