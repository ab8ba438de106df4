"""What is peculiar to EC2, each trap by name; the simulator checks signatures like the real one."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest

from vaultlayer.driver import BootPayload, Need, Offer, Order, TellsAccount
from vaultlayer.errors import AmbiguousCreateError, AuthError, CapacityError, DriverError
from vaultlayer_actors.drivers.aws import DRIVER
from vaultlayer_actors.drivers.aws.protocol import Form
from vaultlayer_actors.drivers.aws.reading import (
    place_of,
)
from vaultlayer_actors.drivers.aws.request import USER_DATA_B_MAX, Plan, newest, run_instances
from vaultlayer_actors.drivers.aws.simulator import KEY_ID, AwsSimulator
from vaultlayer_actors.drivers.aws.stock import AMI, IMAGE_GIB
from vaultlayer_actors.drivers.aws.wire import (
    Image,
)
from vaultlayer_actors.drivers.cloud.bootstrap import script_of
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_agent.metadata import AwsLook

NEED = Need(gpu="A10G", gpu_count=1)
CASE = Case(
    kind=DRIVER,
    simulator=AwsSimulator,
    need=NEED,
    secrets={"access_key_id": KEY_ID, "secret_access_key": "{key}"},
)
pytestmark = pytest.mark.anyio


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def sim_of(rig: Rig) -> AwsSimulator:
    assert isinstance(rig.sim, AwsSimulator)
    return rig.sim


def sent(rig: Rig, call: str) -> list[Form]:
    return [Form(seen.body) for seen in rig.sim.requests if seen.call == call]


def order_of() -> Order:
    boot = BootPayload(
        job="jabcdefgh2",
        attempt=1234,
        incarnation="k2m4p6r8",
        provider="aws",
        bus_urls=[f"wss://bus-{n}.a-long-name.example.org:443" for n in range(5)],
        enrol_jwt="e" * 2000,
        enrol_seed="S" * 58,
        work_path="/opt/vaultlayer/workspace/jabcdefgh2",
        version="0.1.0",
    )
    offer = Offer(provider="aws", offer_id="us-east-1a:g5.xlarge:spot", gpu="A10G", gpu_count=1)
    return Order(name="vl-jabcdefgh2-a1234", offer=offer, boot=boot)


# Creating -----------------------------------------------------------------------------------------


async def test_what_is_sent_to_make_a_spot_machine(rig: Rig) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    spot = next(one for one in offers if one.spot)
    order = await rig.order(spot)
    await rig.driver.create(order)
    (form,) = sent(rig, "create")
    assert form.get("ClientToken") == order.name
    assert form.get("InstanceInitiatedShutdownBehavior") == "terminate"
    assert form.get("MetadataOptions.HttpTokens") == "required"
    assert form.get("MetadataOptions.HttpPutResponseHopLimit") == "2"
    market = form.below("InstanceMarketOptions")
    assert market is not None
    assert market.without() == {
        "MarketType": "spot",
        "SpotOptions.SpotInstanceType": "one-time",
        "SpotOptions.InstanceInterruptionBehavior": "terminate",
    }
    tagged = {spec.get("ResourceType"): spec for spec in form.groups("TagSpecification")}
    assert set(tagged) == {"instance", "volume", "spot-instances-request"}
    tags = {one.get("Key"): one.get("Value") for one in tagged["volume"].groups("Tag")}
    assert tags == {"vaultlayer": order.name, "Name": order.name}


async def test_on_demand_sends_no_market_and_no_tag_of_a_request(rig: Rig) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    demand = next(one for one in offers if not one.spot)
    await rig.driver.create(await rig.order(demand))
    (form,) = sent(rig, "create")
    assert form.below("InstanceMarketOptions") is None
    assert [one.get("ResourceType") for one in form.groups("TagSpecification")] == [
        "instance",
        "volume",
    ]


async def test_the_same_name_in_other_words_is_looked_for_and_not_made_again(rig: Rig) -> None:
    order = await rig.order()
    made = await rig.driver.create(order)
    boot = msgspec.structs.replace(order.boot, incarnation="other123")
    again = await rig.driver.create(msgspec.structs.replace(order, boot=boot))
    assert again.instance == made.instance
    assert rig.sim.requests[-2].call == "list"
    assert len(rig.ours()) == 1


async def test_a_mismatch_whose_machine_is_nowhere_stays_unclear(rig: Rig) -> None:
    order = await rig.order()
    made = await rig.driver.create(order)
    del rig.sim.fleet.machines[made.instance].spec["tags"]
    boot = msgspec.structs.replace(order.boot, incarnation="other123")
    with pytest.raises(AmbiguousCreateError, match="another order of this name"):
        await rig.driver.create(msgspec.structs.replace(order, boot=boot))


async def test_a_token_of_a_machine_that_has_ended_makes_none(rig: Rig) -> None:
    order = await rig.order()
    made = await rig.driver.create(order)
    await rig.driver.terminate(made.instance)
    with pytest.raises(CapacityError, match="has been and is gone"):
        await rig.driver.create(order)
    assert rig.ours() == []


async def test_no_capacity_comes_as_a_server_failure_and_is_not_asked_again(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("no_capacity", "create", times=-1)
    with pytest.raises(CapacityError):
        await rig.driver.create(order)
    assert [seen.status for seen in rig.sim.requests if seen.call == "create"] == [500]
    other = await rig.offer()
    assert (other.offer_id, other.gpu) != (order.offer.offer_id, "")
    rig.sim.faults.clear()
    await rig.driver.create(await rig.order(other))


async def test_no_capacity_may_come_after_the_create(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("late_no_room", "create")
    with pytest.raises(CapacityError):
        await rig.driver.create(order)
    order = await rig.order()
    rig.sim.fleet.knobs.boot_s = 30.0
    made = await rig.driver.create(order)
    rig.sim.fleet.vanish(made.instance)
    rig.sim.fleet.machines[made.instance].reason = "no room"
    seen = await rig.driver.get(made.instance)
    assert (seen.state, seen.detail) == ("gone", "Server.InsufficientInstanceCapacity")
    left = {one.offer_id for one in (await rig.driver.offers(NEED)).offers}
    assert order.offer.offer_id not in left


async def test_a_quota_rests_its_region_and_market_and_nothing_else(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("vcpu", "create")
    with pytest.raises(CapacityError, match="quota") as caught:
        await rig.driver.create(order)
    assert "Service Quotas" in (caught.value.mend or "")
    left = (await rig.driver.offers(NEED)).offers
    assert left
    assert not [one for one in left if (one.region, one.spot) == (order.offer.region, True)]
    assert [one for one in left if (one.region, one.spot) == (order.offer.region, False)]
    rig.clock.advance(601.0)
    again = (await rig.driver.offers(NEED)).offers
    assert [one for one in again if (one.region, one.spot) == (order.offer.region, True)]


async def test_a_create_that_was_throttled_after_an_unclear_try_stays_unclear(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.fleet.knobs.listing_lag_s = 1e6
    rig.sim.faults.add("drop_after", "create")
    rig.sim.faults.add("429", "create", skip=1, times=-1)
    with pytest.raises(AmbiguousCreateError):
        await rig.driver.create(order)


def test_the_boot_script_fits_user_data_and_a_larger_one_is_refused_here() -> None:
    script = script_of(order_of(), is_vm=True, wheels_url=f"https://bucket/{'x' * 900}")
    assert len(script.encode()) < USER_DATA_B_MAX * 0.75
    plan = Plan(
        name="vl-jabcdefgh2-a1",
        place=place_of("us-east-1a:g5.xlarge:spot"),
        image=Image(image_id=AMI),
        script="x" * (USER_DATA_B_MAX + 1),
        disk_gb=10.0,
    )
    with pytest.raises(DriverError, match="16 KB"):
        run_instances(plan)


async def test_a_root_disk_is_no_smaller_than_its_image(rig: Rig) -> None:
    await rig.made()
    (form,) = sent(rig, "create")
    (disk,) = form.groups("BlockDeviceMapping")
    assert int(disk.get("Ebs.VolumeSize")) == IMAGE_GIB > 64
    assert (disk.get("DeviceName"), disk.get("Ebs.DeleteOnTermination")) == ("/dev/sda1", "true")


async def test_the_newest_image_is_taken_and_brackets_in_its_name_are_no_pattern(rig: Rig) -> None:
    await rig.made()
    assert sent(rig, "create")[0].get("ImageId") == AMI
    assert newest([]) is None


async def test_containers_are_refused_in_words_and_an_ami_is_taken_as_it_is(rig: Rig) -> None:
    refused = await rig.driver.offers(Need(gpu="A10G", gpu_count=1, image="repo/img:tag"))
    assert "machine images only" in refused.refusal
    order = msgspec.structs.replace(await rig.order(), image=AMI)
    await rig.driver.create(order)
    assert sent(rig, "images")[-1].items("ImageId") == [AMI]
    with pytest.raises(DriverError, match="InvalidAMIID"):
        await rig.driver.create(msgspec.structs.replace(await rig.order(), image="ami-none"))


# Reading ------------------------------------------------------------------------------------------


async def test_not_found_right_after_a_create_is_not_gone(rig: Rig) -> None:
    rig.sim.fleet.knobs.get_lag_s = 20.0
    made = await rig.made()
    assert (await rig.driver.get(made.instance)).state == "booting"
    with pytest.raises(DriverError, match="does not know") as caught:
        await rig.driver.terminate(made.instance)
    assert caught.value.retryable
    await rig.clock.sleep(21.0)
    assert (await rig.driver.get(made.instance)).state == "running"


async def test_not_found_when_that_time_is_over_is_gone(rig: Rig) -> None:
    made = await rig.made()
    del rig.sim.fleet.machines[made.instance]
    assert (await rig.driver.get(made.instance)).state == "booting"
    await rig.clock.sleep(rig.driver.manifest.visibility_s)
    assert (await rig.driver.get(made.instance)).state == "gone"
    await rig.driver.terminate(made.instance)


async def test_a_taken_spot_machine_is_listed_as_gone_and_then_forgotten(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.interrupt(made.instance)
    seen = await rig.driver.get(made.instance)
    assert (seen.state, seen.detail) == ("gone", "taken by AWS (spot)")
    rig.clock.advance(3601.0)
    assert (await rig.driver.get(made.instance)).state == "gone"
    assert await rig.driver.list() == []


async def test_one_id_a_call_because_an_unknown_one_voids_them_all(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.requests.clear()
    await rig.driver.terminate("i-00000000000000bad")
    await rig.driver.terminate(made.instance)
    assert [form.items("InstanceId") for form in sent(rig, "terminate")] == [
        *[["i-00000000000000bad"]] * 3,
        [made.instance],
    ]


async def test_ids_are_looked_up_without_a_page_size(rig: Rig) -> None:
    made = await rig.made()
    await rig.driver.get(made.instance)
    assert [form.get("MaxResults") for form in sent(rig, "get")] == [""]


async def test_an_empty_page_is_not_the_last_one(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.faults.add("empty_page", "list", times=3)
    assert [one.instance for one in await rig.driver.list()] == [made.instance]


async def test_a_page_of_a_proxy_is_no_empty_list(rig: Rig) -> None:
    await rig.made()
    rig.sim.faults.add("garbage_after", "list", times=-1)
    with pytest.raises(DriverError, match="did not answer list"):
        await rig.driver.list()


async def test_one_region_that_fails_hides_no_machine_but_costs_no_offers(rig: Rig) -> None:
    await rig.made()
    # Three regions with four tries each: ten failures leave one of them without an answer.
    rig.sim.faults.add("500", "list", times=10)
    with pytest.raises(DriverError):
        await rig.driver.list()
    rig.clock.advance(60.0)
    rig.sim.faults.add("403", "offers", times=1)
    assert (await rig.driver.offers(NEED)).offers


async def test_a_machine_of_another_process_is_found_in_its_region(rig: Rig) -> None:
    made = await rig.made()
    other = rig.build()
    assert (await other.get(made.instance)).state == "running"
    await other.terminate(made.instance)
    assert rig.ours() == []
    await other.close()


# Offers -------------------------------------------------------------------------------------------


async def test_prices_hold_machine_address_disk_and_egress(rig: Rig) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    demand = next(one for one in offers if not one.spot)
    disk_usd_h = 64 * 0.08 / 730
    assert demand.price_usd_h == pytest.approx(1.006 + 0.005 + disk_usd_h + 2 * 0.09)
    assert demand.parts is not None
    assert (demand.parts.least_s, demand.parts.billing_step_s) == (60.0, 1.0)
    assert offers[0].spot
    assert offers[0].price_usd_h < demand.price_usd_h


async def test_spot_as_dear_as_on_demand_is_no_offer(rig: Rig) -> None:
    offers = (await rig.driver.offers(Need(gpu="H100_80", gpu_count=1))).offers
    assert offers
    assert not any(one.spot for one in offers)


async def test_a_region_without_known_prices_offers_spot_only_and_own_prices_help(
    tmp_path: Path,
) -> None:
    for own, markets in (({}, {True}), ({"eu-west-1/g5.xlarge": 1.123}, {True, False})):
        options = {"regions": ["eu-west-1"], "on_demand_usd_h": own}
        async with rig_of(case_with(options), tmp_path) as rig:
            offers = (await rig.driver.offers(NEED)).offers
            assert {one.spot for one in offers} == markets
            assert {one.region for one in offers} == {"eu-west-1"}


def case_with(options: Mapping[str, object]) -> Case:
    return Case(
        kind=DRIVER, simulator=AwsSimulator, need=NEED, secrets=CASE.secrets, options=options
    )


# Errors -------------------------------------------------------------------------------------------


async def test_what_may_not_be_done_is_told_without_the_encoded_message(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("forbidden", "create")
    with pytest.raises(AuthError, match="no right to create") as caught:
        await rig.driver.create(order)
    assert "README" in (caught.value.mend or "")


async def test_the_right_to_create_is_asked_by_a_dry_run_that_makes_nothing(rig: Rig) -> None:
    assert isinstance(rig.driver, TellsAccount)
    told = await rig.driver.account()
    assert (told.can_create, told.skew_s, told.strange_gpus) == (True, 0.0, ["Novelty 9000", "T4g"])
    rig.sim.faults.add("forbidden", "create")
    told = await rig.driver.account()
    assert told.can_create is False
    assert "UnauthorizedOperation" in told.refusal
    assert rig.sim.fleet.machines == {}
    (form, _) = sent(rig, "create")
    assert (form.get("DryRun"), form.get("ClientToken")[:3] == "vl-") == ("true", False)


# On the machine -----------------------------------------------------------------------------------


async def test_a_notice_is_heard_from_metadata_and_only_with_a_token(rig: Rig) -> None:
    made = await rig.made()
    base = f"{rig.sim.url}/_meta/{made.instance}"
    look = AwsLook(base)
    assert await anyio.to_thread.run_sync(look) is None
    rig.sim.do(made.instance, "rebalance")
    advice = await anyio.to_thread.run_sync(look)
    rig.sim.do(made.instance, "preempt", notice_s=120.0)
    notice = await anyio.to_thread.run_sync(look)
    assert advice is not None
    assert notice is not None
    assert (advice.source, notice.source) == ("aws-rebalance", "aws-spot")
    assert 110.0 <= notice.grace_s <= 120.0
    assert (await rig.driver.get(made.instance)).state == "running"
    rig.clock.advance(121.0)
    assert (await rig.driver.get(made.instance)).state == "gone"
