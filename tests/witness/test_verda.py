"""Verda's own client understands our Verda."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.verda import DRIVER
from vaultlayer_actors.drivers.verda.simulator import CLIENT, VerdaSimulator
from vaultlayer_actors.simulator.machine import State
from witnesses import witness_says

pytestmark = [pytest.mark.witness, pytest.mark.anyio, pytest.mark.timeout(180)]

NAME = "vl-jabcdefgh2-a1"
CASE = Case(
    kind=DRIVER,
    simulator=VerdaSimulator,
    need=Need(gpu="A100_80", gpu_count=1),
    secrets={"client_id": CLIENT, "client_secret": "{key}"},
)

CONNECT = """
import json, sys
from verda import VerdaClient
url, secret = sys.argv[1:3]
verda = VerdaClient("sim-client", secret, base_url=url)
"""

OFFERS = """
types = {one.instance_type: [one.price_per_hour, one.spot_price_per_hour]
    for one in verda.instance_types.get()}
places = verda.instances.get_availabilities(is_spot=True)
is_there = verda.instances.is_available("1A100.22V", is_spot=True, location_code="FIN-01")
print(json.dumps([types["1A100.22V"], [one["location_code"] for one in places], is_there,
    [one.price_per_month_per_gb for one in verda.volume_types.get() if one.type == "NVMe"],
    verda.balance.get().amount]))
"""

LIFE = """
script = verda.startup_scripts.create("vl-jabcdefgh2-a1", "#!/bin/sh\\nexec sleep 100")
made = verda.instances.create(instance_type="1A100.22V", image="ubuntu-24.04-cuda-12.8-open-docker",
    hostname="vl-jabcdefgh2-a1", description="vl-jabcdefgh2-a1", location="FIN-01",
    startup_script_id=script.id, is_spot=True, contract="SPOT", initial_interval=0.1)
seen = verda.instances.get_by_id(made.id)
listed = [one.hostname for one in verda.instances.get()]
kept = verda.startup_scripts.get_by_id(script.id).name
verda.instances.action(made.id, verda.constants.instance_actions.DELETE, volume_ids=[seen.os_volume_id],
    delete_permanently=True)
verda.startup_scripts.delete([script.id])
try:
    verda.instances.get_by_id(made.id)
    after = "there"
except Exception as error:
    after = error.code
print(json.dumps([seen.status, seen.is_spot, seen.startup_script_id == script.id, listed, kept, after,
    len(verda.startup_scripts.get())]))
"""

SEEN = """
scripts = {one.id: one.name for one in verda.startup_scripts.get()}
print(json.dumps([[one.id, one.hostname, one.status, one.instance_type, one.location, one.is_spot,
    [scripts[one.startup_script_id]]] for one in verda.instances.get()]))
"""

WRONG = """
import json, sys
from verda import VerdaClient
try:
    VerdaClient("sim-client", "wrong", base_url=sys.argv[1])
    told = "in"
except Exception as error:
    told = error.code
print(json.dumps(told))
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


async def client(rig: Rig, script: str) -> Any:
    return await witness_says(CONNECT + script, rig.sim.url, rig.sim.key)


async def test_types_prices_and_places_are_read(rig: Rig) -> None:
    places = ["FIN-01", "FIN-02", "FIN-03", "ICE-01"]
    assert await client(rig, OFFERS) == [[1.29, 0.4515], places, True, [0.2], 42.5]


async def test_a_machine_and_its_script_are_made_seen_listed_and_deleted(rig: Rig) -> None:
    assert await client(rig, LIFE) == ["running", True, True, [NAME], NAME, "not_found", 0]
    assert [one.state for one in rig.sim.fleet.machines.values()] == [State.GONE]


async def test_the_client_sees_what_the_driver_made(rig: Rig) -> None:
    offer = await rig.offer()
    made = await rig.driver.create(await rig.order(offer))
    seen = await client(rig, SEEN)
    kind, _, place = offer.offer_id.partition(":")[0].partition("@")
    assert seen == [[made.instance, made.name, "running", kind, place, offer.spot, [made.name]]]


async def test_a_wrong_secret_is_told_in_its_words(rig: Rig) -> None:
    assert await witness_says(WRONG, rig.sim.url) == "unauthorized_request"
