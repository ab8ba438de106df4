"""What is peculiar to Compute Engine, each trap by name; the simulator speaks the vendor's words."""

import json
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from vaultlayer.driver import Need
from vaultlayer.errors import AuthError, CapacityError, DriverError, OfferGoneError
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.gcp import DRIVER
from vaultlayer_actors.drivers.gcp.account import assertion, read_account
from vaultlayer_actors.drivers.gcp.catalogue import KINDS, RATES, price_usd_h
from vaultlayer_actors.drivers.gcp.reading import instance_of, kind_at
from vaultlayer_actors.drivers.gcp.simulated_accounts import key_file
from vaultlayer_actors.drivers.gcp.simulator import GcpSimulator
from vaultlayer_actors.drivers.gcp.wire import Row
from vaultlayer_actors.simulator.metadata import metadata_url
from vaultlayer_agent.metadata import GceLook

NEED = Need(gpu="A100_40", gpu_count=1)
SECRETS = {"service_account": "{key}"}
CASE = Case(kind=DRIVER, simulator=GcpSimulator, need=NEED, secrets=SECRETS)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def sim_of(rig: Rig) -> GcpSimulator:
    assert isinstance(rig.sim, GcpSimulator)
    return rig.sim


async def with_options(tmp_path: Path, need: Need, **options: object) -> list[Any]:
    case = Case(kind=DRIVER, simulator=GcpSimulator, need=need, secrets=SECRETS, options=options)
    async with rig_of(case, tmp_path) as rig:
        return (await rig.driver.offers(need)).offers


def body_of(rig: Rig, instance: str) -> dict[str, Any]:
    body: Any = rig.sim.fleet.machines[instance].spec["body"]
    return body


# Creating -----------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    "code",
    [
        "ZONE_RESOURCE_POOL_EXHAUSTED",
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        "insufficientCapacity",
        "UNSUPPORTED_OPERATION",
        "RESOURCE_NOT_FOUND",
        "QUOTA_EXCEEDED",
    ],
)
async def test_a_zone_is_full_inside_a_good_answer(rig: Rig, code: str) -> None:
    order = await rig.order()
    rig.sim.faults.add("no_capacity", "create", text=code)
    with pytest.raises(CapacityError, match=code):
        await rig.driver.create(order)
    assert next(seen for seen in rig.sim.requests if seen.call == "create").status == 200
    assert rig.ours() == []


@pytest.mark.anyio
async def test_an_operation_that_fails_with_words_nobody_knows_is_no_capacity_and_no_machine(
    rig: Rig,
) -> None:
    order = await rig.order()
    rig.sim.faults.add("no_capacity", "create", text="HARD_LUCK")
    with pytest.raises(DriverError, match="HARD_LUCK") as caught:
        await rig.driver.create(order)
    assert not isinstance(caught.value, CapacityError)


@pytest.mark.anyio
async def test_a_create_is_repeated_with_one_token_and_makes_one_machine(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("drop_after", "create", times=2)
    await rig.driver.create(order)
    other = rig.build()
    await other.create(order)
    await other.close()
    creates = [seen.path for seen in rig.sim.requests if seen.call == "create"]
    assert len(creates) == 4
    assert len(set(creates)) == 1
    assert uuid.UUID(creates[0].partition("requestId=")[2]).int
    assert len(rig.sim.fleet.machines) == 1


@pytest.mark.anyio
async def test_the_name_still_guards_when_the_token_is_forgotten(rig: Rig) -> None:
    order = await rig.order()
    made = await rig.driver.create(order)
    sim_of(rig).forget_tokens()
    again = await rig.driver.create(order)
    assert again.instance == made.instance
    assert [seen.status for seen in rig.sim.requests if seen.call == "create"] == [200, 409]
    assert len(rig.sim.fleet.machines) == 1


@pytest.mark.anyio
async def test_a_spot_machine_is_deleted_when_it_is_taken_and_has_no_account_of_googles(
    rig: Rig,
) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    for offer in (next(o for o in offers if o.spot), next(o for o in offers if not o.spot)):
        made = await rig.driver.create(await rig.order(offer))
        body = body_of(rig, made.instance)
        plan = body["scheduling"]
        assert plan["provisioningModel"] == ("SPOT" if offer.spot else "STANDARD")
        assert plan.get("instanceTerminationAction") == ("DELETE" if offer.spot else None)
        assert plan["onHostMaintenance"] == "TERMINATE"
        assert body["serviceAccounts"] == []
        assert body["guestAccelerators"] == []


@pytest.mark.anyio
async def test_64_bit_numbers_travel_as_strings(rig: Rig) -> None:
    made = await rig.made()
    assert body_of(rig, made.instance)["disks"][0]["initializeParams"]["diskSizeGb"] == "64"


@pytest.mark.anyio
async def test_only_n1_asks_for_its_accelerators(tmp_path: Path) -> None:
    need = Need(gpu="T4", gpu_count=1)
    case = Case(kind=DRIVER, simulator=GcpSimulator, need=need, secrets=SECRETS)
    async with rig_of(case, tmp_path) as rig:
        offers = (await rig.driver.offers(need)).offers
        # Every zone has the machine type; only those with the accelerator can be offered.
        assert {offer.offer_id.partition("/")[0] for offer in offers} == {
            "us-central1-a",
            "us-east1-b",
        }
        made = await rig.made()
        (extra,) = body_of(rig, made.instance)["guestAccelerators"]
        assert extra["acceleratorType"].endswith("/acceleratorTypes/nvidia-tesla-t4")
        assert extra["acceleratorCount"] == 1


@pytest.mark.anyio
async def test_google_ends_a_machine_by_itself_where_that_is_asked_for(tmp_path: Path) -> None:
    case = Case(
        kind=DRIVER,
        simulator=GcpSimulator,
        need=NEED,
        secrets=SECRETS,
        options={"max_run_h": 6.0, "spot": "never"},
    )
    async with rig_of(case, tmp_path) as rig:
        offer = await rig.offer()
        assert offer.stay_s == 6 * 3600
        made = await rig.driver.create(await rig.order(offer))
        plan = body_of(rig, made.instance)["scheduling"]
        assert plan["maxRunDuration"] == {"seconds": "21600"}
        assert plan["instanceTerminationAction"] == "DELETE"


@pytest.mark.anyio
@pytest.mark.parametrize("words", ["QUOTA_EXCEEDED", "QUOTA_EVERYWHERE"])
async def test_a_quota_rests_its_region_or_all_and_not_one_zone_after_another(
    rig: Rig, words: str
) -> None:
    offers = (await rig.driver.offers(NEED)).offers
    spent = next(one for one in offers if one.spot and one.region == "us-central1")
    rig.sim.faults.add("no_capacity", "create", text=words)
    with pytest.raises(CapacityError, match="quota") as caught:
        await rig.driver.create(await rig.order(spent))
    assert "quotas" in (caught.value.mend or "")
    left = {(one.region, one.spot) for one in (await rig.driver.offers(NEED)).offers}
    if words == "QUOTA_EXCEEDED":
        assert ("us-central1", True) not in left
        assert {("us-central1", False), ("us-west4", True)} <= left
    else:
        assert left == set()
    rig.clock.advance(601.0)
    assert len((await rig.driver.offers(NEED)).offers) == len(offers)


@pytest.mark.anyio
async def test_an_api_that_is_not_enabled_is_no_wrong_key(rig: Rig) -> None:
    order = await rig.order()
    rig.sim.faults.add("api_disabled", "create")
    with pytest.raises(AuthError, match="no Compute Engine API") as caught:
        await rig.driver.create(order)
    assert "services enable" in (caught.value.mend or "")


# Reading ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_zone_that_does_not_answer_is_an_error_and_no_absence(rig: Rig) -> None:
    made = await rig.made()
    zone = made.instance.partition("@")[2]
    rig.sim.faults.add("unreachable", "zones", text=zone)
    with pytest.raises(DriverError, match="only a part") as caught:
        await rig.driver.list()
    assert zone in (caught.value.why or "")
    assert caught.value.retryable
    assert [one.instance for one in await rig.driver.list()] == [made.instance]


@pytest.mark.anyio
async def test_a_zone_that_does_not_answer_hides_only_its_own_offers(rig: Rig) -> None:
    rig.sim.faults.add("unreachable", "zones", text="us-west4-b")
    offers = (await rig.driver.offers(NEED)).offers
    assert offers
    assert "us-west4" not in {offer.region for offer in offers}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROVISIONING", "booting"),
        ("STAGING", "booting"),
        ("PENDING", "booting"),
        ("RUNNING", "running"),
        ("STOPPING", "unknown"),
        ("PENDING_STOP", "unknown"),
        ("SUSPENDING", "unknown"),
        ("DEPROVISIONING", "unknown"),
        ("REPAIRING", "unknown"),
        ("NEW_WORD", "unknown"),
        ("TERMINATED", "stopped"),
        ("STOPPED", "stopped"),
        ("SUSPENDED", "stopped"),
    ],
)
def test_each_status_is_read(status: str, state: str) -> None:
    assert instance_of(Row(name="vl-jabcdefgh2-a1", status=status), "z-a").state == state


@pytest.mark.anyio
async def test_a_machine_lives_through_its_notice_and_its_end_says_who_took_it(rig: Rig) -> None:
    made = await rig.made()
    rig.sim.fleet.preempt(made.instance, 30.0)
    assert (await rig.driver.get(made.instance)).state == "unknown"
    rig.clock.advance(31.0)
    seen = await rig.driver.get(made.instance)
    assert (seen.state, seen.detail) == ("gone", "preempted")


@pytest.mark.anyio
async def test_a_machine_hears_of_its_end_from_its_own_metadata(rig: Rig) -> None:
    made = await rig.made()
    machine = rig.sim.fleet.machines[made.instance]
    look = GceLook(metadata_url(rig.sim, machine))
    assert await to_thread.run_sync(look) is None
    rig.sim.fleet.preempt(made.instance, 30.0)
    notice = await to_thread.run_sync(look)
    assert notice is not None
    assert notice.grace_s == rig.driver.manifest.notice_s


@pytest.mark.anyio
async def test_a_machine_that_we_deleted_was_not_preempted(rig: Rig) -> None:
    made = await rig.made()
    await rig.driver.terminate(made.instance)
    seen = await rig.driver.get(made.instance)
    assert (seen.state, seen.detail) == ("gone", "")


@pytest.mark.anyio
async def test_one_name_in_two_zones_is_two_machines(rig: Rig) -> None:
    made = await rig.made()
    machine = rig.sim.fleet.machines[made.instance]
    other = rig.sim.fleet.make(
        machine.name, 1.0, machine_id=f"{machine.name}@us-east1-b", spec=dict(machine.spec)
    )
    assert {one.instance for one in await rig.driver.list()} == {made.instance, other.id}
    await rig.driver.terminate(other.id)
    assert [one.instance for one in await rig.driver.list()] == [made.instance]


@pytest.mark.anyio
@pytest.mark.parametrize("answer", ["operation", "not_ready"])
async def test_a_second_delete_is_done_in_both_words(rig: Rig, answer: str) -> None:
    made = await rig.made()
    rig.sim.fleet.knobs.end_s = 30.0
    sim_of(rig).second_delete = answer
    await rig.driver.terminate(made.instance)
    await rig.driver.terminate(made.instance)
    assert (await rig.driver.get(made.instance)).state == "unknown"


# Prices -------------------------------------------------------------------------------------------


def test_every_rate_belongs_to_a_machine_type_and_spot_is_cheaper() -> None:
    assert {kind.rate for kind in KINDS} - set(RATES) == {"a4-high"}
    for table in RATES.values():
        for on_demand, spot in table.values():
            assert on_demand is None or spot is None or 0 < spot < on_demand


def test_own_prices_go_before_ours_the_more_exact_one_first() -> None:
    kind = kind_at("us-central1-a/a2-highgpu-2g")[1]
    assert price_usd_h(kind, "us-central1", {}, spot=False) == pytest.approx(7.3468)
    own = {"a2-highgpu-2g:spot": 2.0, "us-central1/a2-highgpu-2g:spot": 1.5}
    assert price_usd_h(kind, "us-central1", own, spot=True) == 1.5
    assert price_usd_h(kind, "us-west4", own, spot=True) == 2.0
    assert price_usd_h(kind, "mars-north1", own, spot=False) is None


@pytest.mark.anyio
async def test_what_has_no_price_is_not_offered(tmp_path: Path) -> None:
    need = Need(gpu="H100_80", gpu_count=1)
    offers = await with_options(tmp_path, need)
    assert offers
    assert all(offer.spot for offer in offers)
    own = {"a3-highgpu-1g": 9.0}
    assert not all(o.spot for o in await with_options(tmp_path, need, prices=own))


def test_an_offer_that_the_catalogue_has_lost_is_gone() -> None:
    with pytest.raises(OfferGoneError):
        kind_at("us-central1-a/z9-strange")


# The key ------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_an_old_token_is_replaced_and_a_refused_one_too(rig: Rig) -> None:
    await rig.driver.list()
    assert len(sim_of(rig).tokens) == 1
    rig.clock.advance(3590.0)
    await rig.driver.list()
    assert len(sim_of(rig).tokens) == 2
    sim_of(rig).tokens = dict.fromkeys(sim_of(rig).tokens, 0.0)
    await rig.driver.list()
    assert len(sim_of(rig).tokens) == 3
    assert [seen.status for seen in rig.sim.requests] == [200, 200, 401, 200]


@pytest.mark.anyio
async def test_a_token_that_cannot_be_had_leaves_a_create_unsent(rig: Rig) -> None:
    order = await rig.order()
    rig.clock.advance(7200.0)
    rig.sim.faults.add("503", "token", times=2)
    made = await rig.driver.create(order)
    assert [one.id for one in rig.ours()] == [made.instance]


@pytest.mark.anyio
async def test_a_key_that_google_no_longer_knows_is_said_and_not_shown(rig: Rig) -> None:
    own = json.loads(rig.sim.key)
    for change in ({"client_email": "other@x.iam.gserviceaccount.com"}, {"private_key": "x"}):
        driver = rig.build(key=json.dumps({**own, **change}))
        with pytest.raises(AuthError) as caught:
            await driver.list()
        assert "PRIVATE" not in str(caught.value)
        await driver.close()


def test_the_signed_text_is_a_jwt_of_one_hour() -> None:
    account = read_account(key_file("http://127.0.0.1:1"))
    head, claims, signature = assertion(account, 1_800_000_000.5).split(".")
    assert head.startswith("eyJ")
    assert not {"=", "+", "/"} & set(head + claims + signature)
    assert "PRIVATE" not in repr(account)


@pytest.mark.anyio
@pytest.mark.parametrize("status", [403, 429])
async def test_too_many_calls_are_waited_for_in_both_words(rig: Rig, status: int) -> None:
    sim_of(rig).throttled_status = status
    rig.sim.faults.add("429", "create", times=2)
    began_s = rig.clock.now_s()
    await rig.made()
    assert rig.clock.now_s() - began_s >= 10.0
    assert len(rig.sim.fleet.machines) == 1
