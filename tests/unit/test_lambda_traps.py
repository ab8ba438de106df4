"""What is peculiar to Lambda, each trap by name; the simulator speaks the vendor's words."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from vaultlayer.driver import Need
from vaultlayer.errors import (
    AmbiguousCreateError,
    AuthError,
    BalanceError,
    CapacityError,
    DriverError,
)
from vaultlayer_actors.drivers.cloud.reply import Reply
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.lambda_cloud import DRIVER
from vaultlayer_actors.drivers.lambda_cloud.driver import LambdaDriver
from vaultlayer_actors.drivers.lambda_cloud.market import catalogue
from vaultlayer_actors.drivers.lambda_cloud.reading import (
    STATES,
    classify,
    instance_of,
    offers_of,
)
from vaultlayer_actors.drivers.lambda_cloud.simulator import LambdaSimulator
from vaultlayer_actors.drivers.lambda_cloud.wire import Row, Tag, TypeItem

NEED = Need(gpu="A10", gpu_count=1)


def case(**options: Any) -> Case:
    return Case(kind=DRIVER, simulator=LambdaSimulator, need=NEED, options=options)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(case(), tmp_path) as made:
        yield made


def sim_of(rig: Rig) -> LambdaSimulator:
    assert isinstance(rig.sim, LambdaSimulator)
    return rig.sim


def sent(rig: Rig, call: str) -> dict[str, Any]:
    return json.loads(next(one.body for one in reversed(rig.sim.requests) if one.call == call))


def item(name: str) -> TypeItem:
    return msgspec.convert(catalogue()[name], TypeItem)


def failure(code: str, *, status: int = 400, is_safe: bool = False) -> DriverError | None:
    body = json.dumps({"error": {"code": code, "message": "Words that change."}})
    return classify(
        Reply(
            provider="lambda",
            call="create",
            status=status,
            headers={},
            body=body.encode(),
            text=body,
            is_safe=is_safe,
        )
    )


# Limits ---------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_calls_keep_a_second_and_launches_twelve_apart(rig: Rig) -> None:
    assert sim_of(rig).limits_s["create"] > 10
    began_s = rig.clock.now_s()
    for _ in range(3):
        await rig.made()
    await rig.driver.list()
    assert rig.clock.now_s() - began_s >= 24
    assert {seen.status for seen in rig.sim.requests} == {200}


@pytest.mark.anyio
async def test_two_processes_that_share_a_key_wait_for_each_other(rig: Rig) -> None:
    order = await rig.order()
    sim_of(rig).last_s["create"] = rig.clock.now_s()
    made = await rig.driver.create(order)
    assert [seen.status for seen in rig.sim.requests if seen.call == "create"][-1] == 200
    assert rig.sim.requests[-2].status == 429
    assert [one.id for one in rig.ours()] == [made.instance]


@pytest.mark.anyio
async def test_a_launch_is_believed_without_another_call(rig: Rig) -> None:
    order = await rig.order()
    await rig.driver.create(order)
    assert [seen.call for seen in rig.sim.requests][-1] == "create"
    rig.sim.faults.add("429", "get", times=-1)
    assert len(await rig.driver.list()) == 1


# What is sent ---------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_launch_is_within_the_contract(rig: Rig) -> None:
    order = await rig.order()
    await rig.driver.create(order)
    body = sent(rig, "create")
    assert "quantity" not in body
    assert "image" not in body
    assert (body["name"], body["hostname"]) == (order.name, order.name)
    assert body["tags"] == [{"key": "vaultlayer", "value": order.name}]
    assert body["user_data"].startswith("#!/bin/sh\n")
    assert body["ssh_key_names"] == ["somebodys-laptop"]


@pytest.mark.anyio
async def test_the_ssh_key_is_the_one_of_the_options(tmp_path: Path) -> None:
    async with rig_of(case(ssh_key="ci"), tmp_path) as rig:
        await rig.made()
        assert sent(rig, "create")["ssh_key_names"] == ["ci"]
        assert rig.calls("keys") == 0


@pytest.mark.anyio
async def test_an_account_without_ssh_keys_is_told_what_to_do(rig: Rig) -> None:
    sim_of(rig).ssh_keys.clear()
    with pytest.raises(DriverError, match="no SSH key") as caught:
        await rig.made()
    assert "ssh-keys" in caught.value.mend
    assert rig.calls("create") == 0


@pytest.mark.anyio
@pytest.mark.parametrize("options", [{"ssh_key": "none"}, {"image": "no-such-family"}])
async def test_a_launch_that_names_what_is_not_there_is_no_lack_of_capacity(
    tmp_path: Path, options: dict[str, str]
) -> None:
    async with rig_of(case(**options), tmp_path) as rig:
        with pytest.raises(DriverError, match="does not know what the order names") as caught:
            await rig.made()
        assert not isinstance(caught.value, CapacityError)


@pytest.mark.anyio
async def test_a_machine_image_is_a_family_and_a_container_image_is_refused(rig: Rig) -> None:
    found = await rig.driver.offers(msgspec.structs.replace(NEED, image="pytorch/pytorch:2.6"))
    assert found.offers == []
    assert "container image" in found.refusal
    order = msgspec.structs.replace(await rig.order(), image="lambda-stack-22-04")
    await rig.driver.create(order)
    assert sent(rig, "create")["image"] == {"family": "lambda-stack-22-04"}


@pytest.mark.anyio
async def test_more_than_one_machine_a_launch_is_refused_by_the_api(rig: Rig) -> None:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {rig.sim.key}"}) as client:
        launch = {
            "region_name": "us-west-1",
            "instance_type_name": "gpu_1x_a10",
            "ssh_key_names": ["ci"],
            "quantity": 2,
        }
        url = f"{rig.sim.url}/api/v1/instance-operations/launch"
        answer = await client.post(url, json=launch)
    assert answer.json()["error"]["code"] == "global/invalid-parameters"


# Offers ---------------------------------------------------------------------------------------------


def test_the_price_is_in_cents_for_the_whole_machine() -> None:
    need = Need(gpu="H100_80", gpu_count=2)
    offers = offers_of(item("gpu_2x_h100_sxm5"), need, disk_gb=64)
    assert {one.price_usd_h for one in offers} == {8.38}
    assert {one.parts.billing_step_s for one in offers if one.parts} == {60.0}


def test_a_type_without_regions_is_sold_out_and_each_region_is_an_offer() -> None:
    kind = item("gpu_1x_a10")
    assert len(offers_of(kind, NEED, disk_gb=64)) == 3
    kind.regions_with_capacity_available = []
    assert offers_of(kind, NEED, disk_gb=64) == []


@pytest.mark.parametrize(
    ("name", "gpu", "count", "variant", "arch"),
    [
        ("gpu_1x_a100_sxm4", "A100_40", 1, "sxm", "x86_64"),
        ("gpu_8x_a100_80gb_sxm4", "A100_80", 8, "sxm", "x86_64"),
        ("gpu_8x_v100_n", "V100_16", 8, "", "x86_64"),
        ("gpu_1x_h100_pcie", "H100_80", 1, "pcie", "x86_64"),
        ("gpu_1x_a10", "A10", 1, "pcie", "x86_64"),
        ("gpu_1x_gh200", "GH200", 1, "", "arm64"),
        ("gpu_1x_b200_sxm6", "B200", 1, "sxm", "x86_64"),
    ],
)
def test_a_type_tells_gpu_memory_variant_and_processor(
    name: str, gpu: str, count: int, variant: str, arch: str
) -> None:
    offer = offers_of(item(name), Need(gpu=gpu, gpu_count=count), disk_gb=64)[0]
    assert (offer.gpu, offer.variant, offer.arch, offer.spot) == (gpu, variant, arch, False)


def test_a_machine_is_whole_and_its_disk_is_what_it_is() -> None:
    assert offers_of(item("gpu_8x_h100_sxm5"), Need(gpu="H100_80", gpu_count=1), disk_gb=64) == []
    assert offers_of(item("gpu_1x_a10"), NEED, disk_gb=2000) == []
    assert offers_of(item("gpu_1x_novelty"), Need(gpu="A10", gpu_count=1), disk_gb=64) == []


@pytest.mark.anyio
async def test_the_account_tells_types_that_are_new_and_no_balance(rig: Rig) -> None:
    assert isinstance(rig.driver, LambdaDriver)
    told = await rig.driver.account()
    assert (told.balance_usd, told.strange_gpus) == (None, ["gpu_1x_novelty"])


# Lives ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STATES)
def test_each_status_is_read(status: str) -> None:
    assert instance_of(Row(id="i", status=status)).state == STATES[status]


@pytest.mark.anyio
async def test_a_preempted_machine_is_stopped_and_a_sick_one_unknown(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.fleet.kill(made.instance)
    seen = await rig.driver.get(made.instance)
    assert (seen.state, seen.detail, seen.is_alive) == ("unknown", "unhealthy", True)
    rig.sim.interrupt(made.instance)
    seen = await rig.driver.get(made.instance)
    assert (seen.state, seen.detail) == ("stopped", "preempted")


@pytest.mark.anyio
async def test_a_terminated_machine_is_listed_on_and_is_gone(rig: Rig) -> None:
    rig.sim.fleet.knobs.gone_kept_s = 3600.0
    made = await rig.made()
    await rig.driver.terminate(made.instance)
    assert [one.state for one in await rig.driver.list()] == ["gone"]
    assert (await rig.driver.get(made.instance)).state == "gone"


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [404, 200])
async def test_a_second_end_is_done_whatever_is_answered(rig: Rig, answer: int) -> None:
    rig.sim.fleet.knobs.gone_kept_s = 3600.0
    sim_of(rig).end_of_gone = answer
    made = await rig.made()
    await rig.driver.terminate(made.instance)
    await rig.driver.terminate(made.instance)
    assert [one.status for one in rig.sim.requests if one.call == "terminate"] == [200, answer]


@pytest.mark.anyio
async def test_one_unknown_id_fails_its_whole_call_so_each_end_is_a_call(rig: Rig) -> None:
    made = await rig.made()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {rig.sim.key}"}) as client:
        url = f"{rig.sim.url}/api/v1/instance-operations/terminate"
        rig.clock.advance(5.0)
        answer = await client.post(url, json={"instance_ids": [made.instance, "0" * 32]})
    assert answer.status_code == 404
    assert len(rig.ours()) == 1
    await rig.driver.terminate(made.instance)
    assert sent(rig, "terminate") == {"instance_ids": [made.instance]}
    assert rig.ours() == []


@pytest.mark.anyio
async def test_a_machine_that_somebody_has_renamed_is_still_ours(rig: Rig) -> None:
    order = await rig.order()
    made = await rig.driver.create(order)
    rig.sim.fleet.machines[made.instance].name = "do not touch"
    assert [one.name for one in await rig.driver.list()] == [order.name]


def test_a_name_may_be_missing_while_it_boots() -> None:
    assert instance_of(Row(id="i", status="booting")).name == ""
    tags = [Tag(key="team", value="x"), Tag(key="vaultlayer", value="vl-jabcdefgh2-a1")]
    assert instance_of(Row(id="i", status="booting", tags=tags)).name == "vl-jabcdefgh2-a1"


# Failures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("instance-operations/launch/insufficient-capacity", CapacityError),
        ("global/quota-exceeded", CapacityError),
        ("global/account-inactive", BalanceError),
        ("global/invalid-address", BalanceError),
        ("global/invalid-api-key", AuthError),
        ("global/forbidden", AuthError),
        ("global/object-does-not-exist", DriverError),
        ("provider/internal-unavailable", AmbiguousCreateError),
    ],
)
def test_only_the_code_decides(code: str, kind: type[DriverError]) -> None:
    assert type(failure(code)) is kind
    assert failure("global/invalid-parameters") is None


@pytest.mark.anyio
async def test_what_fails_behind_lambda_is_looked_for_after_a_launch(rig: Rig) -> None:
    rig.sim.faults.add("503", "create", text="provider/internal-unavailable")
    with pytest.raises(AmbiguousCreateError):
        await rig.made()
    assert rig.ours() == []
    error = failure("provider/internal-unavailable", status=503, is_safe=True)
    assert error is not None
    assert error.retryable
    rig.sim.faults.add("503", "list", text="provider/internal-unavailable")
    assert await rig.driver.list() == []


@pytest.mark.anyio
async def test_429_has_no_body(rig: Rig) -> None:
    rig.sim.faults.add("429", "list", times=2)
    assert await rig.driver.list() == []
    assert rig.calls("list") == 3


@pytest.mark.anyio
async def test_a_quota_is_said_with_what_to_do(rig: Rig) -> None:
    rig.sim.faults.add("no_capacity", "create", text="global/quota-exceeded")
    with pytest.raises(CapacityError, match="quota") as caught:
        await rig.made()
    assert "support" in caught.value.mend
