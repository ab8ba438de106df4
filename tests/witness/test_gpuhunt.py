"""gpuhunt, which others rent by, reads the same offers out of our simulators as our drivers do."""

from pathlib import Path

import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.cloudrift import DRIVER as CLOUDRIFT
from vaultlayer_actors.drivers.cloudrift.simulator import CloudRiftSimulator
from vaultlayer_actors.drivers.conformance import Case
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.digitalocean import DRIVER as DIGITALOCEAN
from vaultlayer_actors.drivers.digitalocean.simulator import DigitalOceanSimulator
from vaultlayer_actors.drivers.vultr import DRIVER as VULTR
from vaultlayer_actors.drivers.vultr.simulator import VultrSimulator
from witnesses import witness_says

pytestmark = [pytest.mark.witness, pytest.mark.anyio]

NEEDS = [
    Need(gpu=gpu, gpu_count=count)
    for gpu in ("H100_80", "H200", "L40S", "A100_80", "A40", "A16", "RTX4090", "RTX5090")
    for count in (1, 2, 8)
]
CASES = {
    "digitalocean": Case(kind=DIGITALOCEAN, simulator=DigitalOceanSimulator, need=NEEDS[0]),
    "vultr": Case(kind=VULTR, simulator=VultrSimulator, need=NEEDS[0]),
    "cloudrift": Case(kind=CLOUDRIFT, simulator=CloudRiftSimulator, need=NEEDS[0]),
}
PROGRAM = """
import importlib, json, sys
name, url, key = sys.argv[1:]
module = importlib.import_module(f"gpuhunt.providers.{name}")
if name == "vultr":
    module.API_URL = url
kinds = {"digitalocean": "DigitalOceanProvider", "vultr": "VultrProvider",
         "cloudrift": "CloudRiftProvider"}
kind = getattr(module, kinds[name])
provider = {
    "digitalocean": lambda: kind(key, url), "vultr": lambda: kind(None), "cloudrift": kind,
}[name]()
names = {"H100": 80, "H200": 141, "L40S": 48, "A100": 80, "A40": 48, "A16": 16,
         "RTX4090": 24, "RTX5090": 32}
rows = [
    [item.instance_name, item.location, item.gpu_count, item.price]
    for item in provider.get()
    if item.gpu_count and item.gpu_name in names
    and item.gpu_memory / (item.gpu_count if item.gpu_memory > 200 else 1) == names[item.gpu_name]
]
print(json.dumps(sorted(rows)))
"""


@pytest.mark.parametrize("name", CASES)
async def test_offers_are_the_same(name: str, tmp_path: Path) -> None:
    async with rig_of(CASES[name], tmp_path) as rig:
        address = {"CLOUDRIFT_SERVER_ADDRESS": rig.sim.url} if name == "cloudrift" else {}
        theirs = await witness_says(PROGRAM, name, rig.sim.url, rig.sim.key, **address)
        ours = [
            [*offer.offer_id.split("@"), offer.gpu_count, offer.price_usd_h]
            for need in NEEDS
            for offer in (await rig.driver.offers(need)).offers
        ]
    assert sorted(ours) == theirs
    assert len(ours) > 2
