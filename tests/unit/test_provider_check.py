"""A check of a provider says what is wrong with it, and how to mend it, without making a machine there."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from clouds import Cloud, CloudDriver
from vaultlayer.driver import Account, DriverContext, Need, Offer, OfferList
from vaultlayer.messages import CheckRow
from vaultlayer.simulated import simulator_names
from vaultlayer_actors.drivers import find_driver
from vaultlayer_actors.drivers.cloud.api import skew_of
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import WRONG, rig_of
from vaultlayer_actors.drivers.vast import DRIVER
from vaultlayer_actors.drivers.vast.simulator import VastSimulator
from vaultlayer_actors.provider_pool import examine as ex
from vaultlayer_actors.simulator.clock import VirtualClock
from vaultlayer_actors.simulator.serving import find_simulator

CASE = Case(kind=DRIVER, simulator=VastSimulator, need=Need(gpu="RTX4090", gpu_count=1))


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


def by_name(rows: list[CheckRow]) -> dict[str, CheckRow]:
    return {row.name: row for row in rows}


@pytest.mark.anyio
async def test_a_provider_that_is_well_is_found_well_and_nothing_is_made(rig: Rig) -> None:
    rows = by_name(await ex.examine(rig.driver))
    assert {name: row.verdict for name, row in rows.items()} == {
        "key": "ok", "rights": "warn", "balance": "ok", "clock": "ok", "GPU names": "warn", "offers": "ok",
    }  # fmt: skip
    assert "$100.00" in rows["balance"].found
    assert "Novelty 9000" in rows["GPU names"].found
    assert "RTX4090 from $0.2" in rows["offers"].found
    assert rig.calls("create") == 0
    assert rig.sim.fleet.machines == {}


@pytest.mark.anyio
@pytest.mark.parametrize("name", simulator_names())
async def test_every_simulated_provider_passes_with_what_it_says_of_itself(
    name: str, tmp_path: Path
) -> None:
    clock = VirtualClock()
    simulator = find_simulator(name)(clock)
    async with simulator.serve():
        driver = find_driver(name).build(
            DriverContext(
                options=simulator.options(),
                secrets=simulator.secrets(),
                state_path=tmp_path,
                clock=clock,
            )
        )
        rows = await ex.examine(driver)
        await driver.close()
    assert [(row.name, row.found) for row in rows if row.verdict == "fail"] == []
    assert by_name(rows)["offers"].verdict == "ok", by_name(rows)["offers"].found
    assert simulator.fleet.machines == {}


@pytest.mark.anyio
async def test_a_key_that_is_refused_is_all_that_is_said(rig: Rig) -> None:
    driver = rig.build(key=WRONG)
    (row,) = await ex.examine(driver)
    await driver.close()
    assert (row.name, row.verdict, row.mend) == ("key", "fail", "vaultlayer providers key vast")
    assert WRONG not in row.found


@pytest.mark.anyio
async def test_what_fails_on_the_way_does_not_hide_the_rest(rig: Rig) -> None:
    rig.sim.faults.add("500", "user", times=-1)
    rows = by_name(await ex.examine(rig.driver))
    assert rows["account"].verdict == "warn"
    assert rows["offers"].verdict == "ok"


@pytest.mark.anyio
async def test_a_strangers_driver_need_not_tell_of_the_account() -> None:
    rows = by_name(await ex.examine(CloudDriver(Cloud())))
    assert rows["balance"].found == "cloud does not tell"
    assert all(row.verdict != "fail" for row in rows.values())


@pytest.mark.parametrize(
    ("usd", "verdict"), [(-3.0, "fail"), (0.0, "fail"), (1.0, "warn"), (5.0, "ok"), (None, "ok")]
)
def test_little_credit_is_said_before_it_ends_a_machine(usd: float | None, verdict: str) -> None:
    row = ex.balance("vast", Account(balance_usd=usd))
    assert row.verdict == verdict
    assert bool(row.mend) == (verdict != "ok")


@pytest.mark.parametrize(
    ("skew_s", "verdict"), [(None, "ok"), (0.0, "ok"), (-60.0, "warn"), (400.0, "fail")]
)
def test_clocks_that_differ_are_told(skew_s: float | None, verdict: str) -> None:
    assert ex.clock(Account(skew_s=skew_s)).verdict == verdict


def test_a_clock_ahead_of_ours_makes_us_late() -> None:
    assert "60 s behind it" in ex.clock(Account(skew_s=60.0)).found
    assert "60 s ahead of it" in ex.clock(Account(skew_s=-60.0)).found


@pytest.mark.parametrize(
    ("date", "skew_s"),
    [
        ("Thu, 01 Jan 1970 00:16:40 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:17:40 GMT", 60.0),
        ("", None),
        ("today", None),
    ],
)
def test_the_skew_is_read_from_the_date_of_an_answer(date: str, skew_s: float | None) -> None:
    assert skew_of(date, 1000.4) == (skew_s if not skew_s else 59.6)


def test_a_key_that_may_not_make_machines_is_a_failure() -> None:
    row = ex.rights("aws", Account(can_create=False, refusal="UnauthorizedOperation"))
    assert row.verdict == "fail"
    assert "UnauthorizedOperation" in row.found
    assert row.mend
    assert ex.rights("aws", Account(can_create=True)).verdict == "ok"


def test_no_offers_at_all_point_at_the_configuration() -> None:
    row = ex.offers("vast", [OfferList(provider="vast", refusal="it has none now")])
    assert row.verdict == "warn"
    assert "it has none now" in row.found
    assert "[providers.vast]" in row.mend
    some = OfferList(
        provider="vast", offers=[Offer(provider="vast", offer_id="1", gpu="T4", price_usd_h=0.15)]
    )
    assert "T4 from $0.15/h" in ex.offers("vast", [some]).found
