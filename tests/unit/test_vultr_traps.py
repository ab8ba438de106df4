"""What is peculiar to Vultr, each trap by name; the simulator speaks the vendor's words."""

import base64
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer.errors import AmbiguousCreateError, AuthError, DriverError
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.vultr import DRIVER
from vaultlayer_actors.drivers.vultr.reading import classify, gpu_of, instance_of
from vaultlayer_actors.drivers.vultr.simulator import VultrSimulator
from vaultlayer_actors.drivers.vultr.wire import Row, VultrPlan

NEED = Need(gpu="A100_80", gpu_count=1)
CASE = Case(kind=DRIVER, simulator=VultrSimulator, need=NEED)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def simulator(rig: Rig) -> VultrSimulator:
    assert isinstance(rig.sim, VultrSimulator)
    return rig.sim


def body_of(rig: Rig, instance: str) -> Any:
    return rig.sim.fleet.machines[instance].spec["body"]


# Offers -------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_share_of_a_gpu_is_not_offered_and_several_gpus_are_counted(rig: Rig) -> None:
    one = (await rig.driver.offers(NEED)).offers
    assert {offer.offer_id for offer in one} == {
        "vcg-a100-12c-120g-80vram@ams",
        "vcg-a100-12c-120g-80vram@ewr",
    }
    two = (await rig.driver.offers(Need(gpu="A100_80", gpu_count=2))).offers
    assert [offer.offer_id for offer in two] == ["vcg-a100-24c-240g-160vram@ewr"]
    assert (await rig.driver.offers(Need(gpu="A100_40", gpu_count=1))).offers == []


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"type": "vcg", "gpu_type": "NVIDIA_A100", "gpu_vram_gb": 80}, ("A100_80", 1)),
        ({"type": "vcg", "gpu_type": "NVIDIA_A100", "gpu_vram_gb": 20}, None),
        ({"type": "vcg", "gpu_type": "NVIDIA_A100", "gpu_vram_gb": 60}, None),
        ({"type": "vcg", "gpu_type": "NVIDIA_A16", "gpu_vram_gb": 64}, ("A16", 4)),
        ({"type": "vcg", "gpu_type": "AMD_MI300X", "gpu_vram_gb": 192}, None),
        ({"type": "vcg", "gpu_type": "NVIDIA_NOVELTY", "gpu_vram_gb": 80}, None),
        ({"type": "vdm"}, None),
        ({"type": "vc2"}, None),
    ],
)
def test_only_whole_gpus_that_are_known_for_certain_are_plans(
    fields: dict[str, Any], found: tuple[str, int] | None
) -> None:
    assert gpu_of(VultrPlan(id="x", **fields)) == found


@pytest.mark.anyio
async def test_what_is_sold_somewhere_but_not_there_now_is_not_offered(rig: Rig) -> None:
    simulator(rig).stock["ams"].clear()
    assert {one.region for one in (await rig.driver.offers(NEED)).offers} == {"ewr"}


@pytest.mark.anyio
async def test_a_region_that_does_not_answer_hides_no_other(rig: Rig) -> None:
    del simulator(rig).stock["ams"]
    assert {one.region for one in (await rig.driver.offers(NEED)).offers} == {"ewr"}
    simulator(rig).stock.clear()
    rig.clock.advance(60.0)
    assert "Invalid region" in (await rig.driver.offers(NEED)).refusal


@pytest.mark.anyio
async def test_a_plan_by_contract_only_is_not_offered(rig: Rig) -> None:
    simulator(rig).plans["vcg-a100-12c-120g-80vram"]["deploy_ondemand"] = False
    assert (await rig.driver.offers(NEED)).offers == []


@pytest.mark.anyio
async def test_a_plan_on_the_last_page_is_offered(rig: Rig) -> None:
    simulator(rig).page_max = 2
    assert (await rig.driver.offers(Need(gpu="A16", gpu_count=1))).offers


# Creating -----------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("image", "sent"),
    [
        ("", {"os_id": 1743}),
        ("2284", {"os_id": 2284}),
        ("docker", {"image_id": "docker"}),
        ("snapshot:cb67", {"snapshot_id": "cb67"}),
    ],
)
async def test_exactly_one_thing_says_what_boots(
    tmp_path: Path, image: str, sent: dict[str, object]
) -> None:
    case = Case(kind=DRIVER, simulator=VultrSimulator, need=NEED, options={"image": image})
    async with rig_of(case, tmp_path) as rig:
        body = body_of(rig, (await rig.made()).instance)
    names = {"os_id", "image_id", "snapshot_id", "app_id", "iso_id"}
    assert {name: body[name] for name in names & set(body)} == sent


@pytest.mark.anyio
async def test_user_data_is_base64_and_the_password_is_never_read(rig: Rig) -> None:
    made = await rig.made()
    assert base64.b64decode(body_of(rig, made.instance)["user_data"]).startswith(b"#!/bin/sh")
    assert "password" not in {name for name in Row.__struct_fields__ if "password" in name}
    assert "v5{Fkvb" not in repr(made)


@pytest.mark.anyio
async def test_a_refusal_in_words_that_nobody_knows_is_looked_after(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("offer_gone", "create", value=400, text="Server add failed: gremlins")
    with pytest.raises(AmbiguousCreateError):
        await rig.driver.create(order)
    assert rig.calls("list") > 2


def test_a_key_that_does_not_let_this_address_in_says_so() -> None:
    body = '{"error": "Invalid API token.", "status": 401}'
    reply = Reply(
        provider="vultr", call="list", status=401, headers={}, body=body.encode(), text=body
    )
    error = classify(reply)
    assert isinstance(error, AuthError)
    assert "address" in error.mend


# Reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("pending", "running", "none", "0.0.0.0"), "booting"),
        (("active", "running", "installingbooting", "203.0.113.4"), "booting"),
        (("active", "running", "locked", "203.0.113.4"), "booting"),
        (("active", "running", "ok", "0.0.0.0"), "booting"),
        (("active", "running", "ok", "203.0.113.4"), "running"),
        (("active", "stopped", "ok", "203.0.113.4"), "stopped"),
        (("suspended", "stopped", "ok", "203.0.113.4"), "stopped"),
        (("failed", "", "", ""), "stopped"),
        (("resizing", "running", "ok", "203.0.113.4"), "booting"),
        (("active", "running", "levitating", "203.0.113.4"), "unknown"),
        (("new word", "running", "ok", "203.0.113.4"), "unknown"),
    ],
)
def test_three_words_and_an_address_make_one_state(words: tuple[str, ...], state: str) -> None:
    status, power, server, address = words
    row = Row(id="x", status=status, power_status=power, server_status=server, main_ip=address)
    assert instance_of(row).state == state


@pytest.mark.anyio
async def test_a_stopped_instance_is_billed_in_full_until_it_is_destroyed(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.interrupt(made.instance)
    assert (await rig.driver.get(made.instance)).state == "stopped"
    assert rig.sim.fleet.ledger.charges[-1].usd_h == pytest.approx(2.40)
    await rig.driver.terminate(made.instance)
    assert rig.sim.fleet.ledger.billed() == []


@pytest.mark.anyio
async def test_an_instance_named_as_ours_without_our_tag_is_a_strangers(rig: Rig) -> None:
    made = await rig.made()
    body: dict[str, object] = {**body_of(rig, made.instance), "tags": []}
    rig.sim.fleet.make("vl-jabcdefgh9-a7", 1.0, spec={"body": body})
    assert [one.instance for one in await rig.driver.list()] == [made.instance]


# Ending -------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_machine_that_is_locked_refuses_its_end_and_one_may_ask_again(rig: Rig) -> None:
    rig.sim.fleet.knobs.boot_s = 30.0
    simulator(rig).locks_while_booting = True
    made = await rig.made()
    with pytest.raises(DriverError) as caught:
        await rig.driver.terminate(made.instance)
    assert caught.value.retryable
    assert (await rig.driver.get(made.instance)).state == "booting"
    rig.clock.advance(31.0)
    await rig.driver.terminate(made.instance)
    assert rig.ours() == []


@pytest.mark.anyio
async def test_a_second_delete_is_404_and_done(rig: Rig) -> None:
    made = await rig.made()
    await rig.driver.terminate(made.instance)
    await rig.driver.terminate(made.instance)
    ends = [seen.status for seen in rig.sim.requests if seen.call == "terminate"]
    assert ends == [204, 404]
