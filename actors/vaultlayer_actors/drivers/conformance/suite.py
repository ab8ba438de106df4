"""The tests themselves; subclass DriverConformance and set `case`."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import ClassVar

import anyio
import pytest

from vaultlayer.driver import DriverContext, Need
from vaultlayer.errors import (
    AmbiguousCreateError,
    AuthError,
    BalanceError,
    CapacityError,
    ConfigError,
    DrillError,
    DriverError,
    ThrottledError,
)
from vaultlayer_actors.drivers.cloud.pricing import all_in_usd_h
from vaultlayer_actors.drivers.conformance.case import WRONG, Case, Rig, is_told, rig_of

STRANGER = "somebody-elses"


def _needs_names(rig: Rig) -> None:
    if not rig.case.has_names:
        pytest.skip("the provider's listing tells no names")


class DriverConformance:
    """What every driver keeps."""

    case: ClassVar[Case]
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncGenerator[Rig]:
        """Give the driver and its simulator; whatever was made must be ended by name without a leak."""
        async with rig_of(self.case, tmp_path) as made:
            yield made
            made.sim.faults.clear()
            made.clock.advance(3600.0)
            await self._end_all(made)
            assert [one.name for one in made.ours()] == []
            left = set(made.sim.fleet.ledger.billed())
            strangers = {m.id for m in made.sim.fleet.machines.values() if m.name == STRANGER}
            assert left <= strangers

    async def _end_all(self, rig: Rig) -> None:
        for _ in range(20):
            listed = [one for one in await rig.driver.list() if one.state != "gone"]
            if not listed:
                return
            for one in listed:
                await rig.driver.terminate(one.instance)
            await rig.clock.sleep(30.0)

    # Building and offers ----------------------------------------------------------------------------

    async def test_unknown_options_and_missing_keys_are_told(self, tmp_path: Path) -> None:
        """A misspelt option or an empty vault is a ConfigError, not a crash later."""
        kind = self.case.kind
        for options, secrets in (({"no_such_option": 1}, {"api_key": "x"}), ({}, {})):
            context = DriverContext(options=options, secrets=secrets, state_path=tmp_path)
            with pytest.raises(ConfigError, match=rf"providers\.{kind.manifest.name}"):
                kind.build(context)

    async def test_offers_fit_the_need_and_their_price_is_all_in(self, rig: Rig) -> None:
        """Each offer names the GPU that was asked for; parts add up; the cheapest comes first."""
        need = rig.case.need
        offers = (await rig.driver.offers(need)).offers
        assert offers
        assert {(one.gpu, one.gpu_count, one.provider) for one in offers} == {
            (need.gpu, max(1, need.gpu_count), rig.driver.manifest.name)
        }
        assert len({one.offer_id for one in offers}) == len(offers)
        for one in offers:
            assert one.parts is not None
            assert one.price_usd_h > 0
            assert one.price_usd_h == pytest.approx(all_in_usd_h(one.parts), abs=1e-5)
        assert [one.price_usd_h for one in offers] == sorted(one.price_usd_h for one in offers)

    async def test_what_is_not_there_is_refused_in_words(self, rig: Rig) -> None:
        """A GPU that the provider has not, or none at all, is a refusal and no error."""
        for need in (Need(gpu="P100", gpu_count=7), Need()):
            found = await rig.driver.offers(need)
            assert found.offers == []
            assert found.refusal

    # Life -------------------------------------------------------------------------------------------

    async def test_a_machine_lives_and_ends(self, rig: Rig) -> None:
        """Created, told what it is for, listed, seen running, ended, no longer billed."""
        rig.sim.fleet.knobs.boot_s = 30.0
        order = await rig.order()
        made = await rig.driver.create(order)
        assert (made.name, made.state in {"booting", "running"}) == (order.name, True)
        assert made.price_usd_h > 0
        assert is_told(rig.sim.fleet.machines[made.instance], order)
        assert [one.instance for one in await rig.driver.list()] == [made.instance]
        assert (await rig.driver.get(made.instance)).state == "booting"
        rig.clock.advance(31.0)
        seen = await rig.driver.get(made.instance)
        assert (seen.state, seen.name) == ("running", order.name)
        await self._end_all(rig)
        assert (await rig.driver.get(made.instance)).state == "gone"
        assert rig.sim.fleet.ledger.billed() == []

    async def test_an_end_may_be_asked_for_twice_and_for_what_never_was(self, rig: Rig) -> None:
        """Terminating is idempotent."""
        made = await rig.made()
        await rig.driver.terminate(made.instance)
        await rig.clock.sleep(5.0)
        await rig.driver.terminate(made.instance)
        await self._end_all(rig)
        await rig.driver.terminate(made.instance)
        assert (await rig.driver.get(made.instance)).state == "gone"

    async def test_a_slow_end_is_no_end(self, rig: Rig) -> None:
        """While the provider is ending a machine it is not said to be gone."""
        made = await rig.made()
        rig.sim.fleet.knobs.end_s = 60.0
        await rig.driver.terminate(made.instance)
        assert (await rig.driver.get(made.instance)).state != "gone"
        await rig.clock.sleep(61.0)
        assert (await rig.driver.get(made.instance)).state == "gone"

    async def test_what_has_ended_for_good_is_gone_also_while_it_is_listed(self, rig: Rig) -> None:
        """Dead machines that a provider lists for a while are billed no more, and neither by us."""
        made = await rig.made()
        rig.sim.fleet.knobs.gone_kept_s = 3000.0
        await rig.driver.terminate(made.instance)
        await rig.clock.sleep(600.0)
        assert rig.sim.fleet.ledger.billed() == []
        assert (await rig.driver.get(made.instance)).state == "gone"
        assert [one.state for one in await rig.driver.list() if one.state != "gone"] == []

    async def test_an_interrupted_machine_is_seen(self, rig: Rig) -> None:
        """What the provider took is stopped or gone, never running."""
        made = await rig.made()
        rig.sim.interrupt(made.instance)
        await rig.clock.sleep(5.0)
        assert (await rig.driver.get(made.instance)).state in {"stopped", "gone"}

    async def test_a_status_that_nobody_knows_is_unknown_and_not_gone(self, rig: Rig) -> None:
        """A new word of the provider's costs no machine."""
        made = await rig.made()
        rig.sim.fleet.machines[made.instance].spec["word"] = "levitating"
        assert (await rig.driver.get(made.instance)).state == "unknown"
        assert [one.state for one in await rig.driver.list()] == ["unknown"]
        del rig.sim.fleet.machines[made.instance].spec["word"]

    async def test_drills_are_done_or_refused_in_words(self, rig: Rig) -> None:
        """`kill` ends the machine where the manifest has it; all else is a DrillError."""
        made = await rig.made()
        with pytest.raises(DrillError):
            await rig.driver.drill(made.instance, "levitate", 0.0)
        if "kill" in rig.driver.manifest.drills:
            assert await rig.driver.drill(made.instance, "kill", 0.0)
            await rig.clock.sleep(5.0)
            assert (await rig.driver.get(made.instance)).state in {"stopped", "gone"}

    # One machine a name -----------------------------------------------------------------------------

    async def test_a_create_that_is_repeated_makes_nothing_new(self, rig: Rig) -> None:
        """The same order twice, also by another process, is one machine."""
        order = await rig.order()
        first = await rig.driver.create(order)
        other = rig.build()
        assert (await other.create(order)).instance == first.instance
        await other.close()
        assert len(rig.ours()) == 1

    @pytest.mark.parametrize("fault", ["drop_after", "500_after", "garbage_after"])
    async def test_a_machine_whose_create_was_not_answered_is_found(
        self, rig: Rig, fault: str
    ) -> None:
        """It was made, the answer was lost: it is adopted, also when the listing lags."""
        if fault not in rig.case.lost_creates:
            pytest.skip("the provider cannot fail so")
        order = await rig.order()
        rig.sim.fleet.knobs.listing_lag_s = rig.driver.manifest.visibility_s / 2
        rig.sim.faults.add(fault, "create")
        made = await rig.driver.create(order)
        assert [one.id for one in rig.ours()] == [made.instance]
        assert made.name == order.name

    async def test_a_request_that_was_lost_leaves_nothing(self, rig: Rig) -> None:
        """The create never arrived: unknown is said, nothing is there; a token may just repeat it."""
        order = await rig.order()
        rig.sim.faults.add("drop", "create")
        try:
            await rig.driver.create(order)
        except AmbiguousCreateError:
            assert rig.ours() == []
        else:
            assert rig.driver.manifest.idempotent
            assert len(rig.ours()) == 1

    async def test_a_duplicate_of_a_name_is_ended(self, rig: Rig) -> None:
        """Two machines of one name: one is kept, the other one ended."""
        _needs_names(rig)
        order = await rig.order()
        made = await rig.driver.create(order)
        twin = rig.sim.fleet.machines[made.instance]
        rig.sim.fleet.make(twin.name, twin.price_usd_h, spec=dict(twin.spec))
        if rig.driver.manifest.idempotent:
            pytest.skip("a token makes duplicates impossible; the sweeper ends others")
        await rig.driver.create(order)
        await rig.clock.sleep(5.0)
        assert len(rig.ours()) == 1

    # Bad days ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("fault", ["no_capacity", "offer_gone"])
    async def test_no_capacity_is_said_and_the_offer_rests(self, rig: Rig, fault: str) -> None:
        """The offer was sold meanwhile: a CapacityError, and the same offer is not shown at once."""
        if fault not in rig.case.refused_creates:
            pytest.skip("the provider cannot fail so")
        order = await rig.order()
        rig.sim.faults.add(fault, "create", times=-1)
        with pytest.raises(CapacityError):
            await rig.driver.create(order)
        assert rig.ours() == []
        again = await rig.driver.offers(rig.case.need)
        assert order.offer.offer_id not in {one.offer_id for one in again.offers}
        rig.clock.advance(600.0)
        assert (await rig.driver.offers(rig.case.need)).offers

    async def test_an_empty_account_is_said(self, rig: Rig) -> None:
        """No credit is not no capacity: somebody must act."""
        order = await rig.order()
        rig.sim.faults.add("balance", "create", times=-1)
        with pytest.raises(BalanceError):
            await rig.driver.create(order)
        assert rig.ours() == []

    async def test_a_wrong_key_is_said_and_never_shown(self, rig: Rig) -> None:
        """Every call says that the key is not accepted, and no text holds it."""
        order = await rig.order()
        driver = rig.build(key=WRONG)
        texts = [(await driver.offers(rig.case.need)).refusal]
        assert not (await driver.offers(rig.case.need)).offers or not texts[0]
        calls = (
            lambda: driver.create(order),
            driver.list,
            lambda: driver.get("1000001"),
            lambda: driver.terminate("1000001"),
        )
        for call in calls:
            with pytest.raises(AuthError) as caught:
                await call()
            texts.append(str(caught.value))
        texts.append(repr(driver))
        assert all(WRONG not in text for text in texts)
        await driver.close()

    async def test_a_key_without_the_right_is_said(self, rig: Rig) -> None:
        """A key that may read but not create is an AuthError, and leaves nothing."""
        order = await rig.order()
        rig.sim.faults.add("forbidden", "create")
        with pytest.raises(AuthError):
            await rig.driver.create(order)
        assert rig.ours() == []

    async def test_too_many_calls_are_waited_for(self, rig: Rig) -> None:
        """429, in whatever shape, is waited for; a create that was throttled is made once."""
        order = await rig.order()
        for call in ("list", "get", "terminate", *(["create"] * rig.case.can_429_create)):
            rig.sim.faults.add("429", call, times=2)
        began_s = rig.clock.now_s()
        made = await rig.driver.create(order)
        await rig.driver.list()
        await rig.driver.get(made.instance)
        await rig.driver.terminate(made.instance)
        assert rig.clock.now_s() > began_s
        assert len(rig.sim.fleet.machines) == 1

    async def test_endless_throttling_is_an_error_and_ends(self, rig: Rig) -> None:
        """A provider that throttles for ever is said to; nothing hangs."""
        rig.sim.faults.add("429", times=-1)
        with anyio.fail_after(60), pytest.raises(ThrottledError):
            await rig.driver.list()

    async def test_failures_of_reads_are_repeated(self, rig: Rig) -> None:
        """500 and a cut connection on what is safe to repeat are repeated."""
        made = await rig.made()
        for fault in ("500", "drop", "503"):
            rig.sim.faults.add(fault, "list")
            assert [one.instance for one in await rig.driver.list()] == [made.instance]
            rig.sim.faults.add(fault, "get")
            assert (await rig.driver.get(made.instance)).instance == made.instance

    async def test_endless_failures_are_an_error(self, rig: Rig) -> None:
        """A provider that is down is no empty account, and no machine is called gone."""
        made = await rig.made()
        rig.sim.faults.add("500", times=-1)
        for call in (rig.driver.list, lambda: rig.driver.get(made.instance)):
            with pytest.raises(DriverError):
                await call()
        rig.clock.advance(60.0)
        assert (await rig.driver.offers(rig.case.need)).refusal

    # A shared account -------------------------------------------------------------------------------

    async def test_strangers_are_neither_listed_nor_touched(self, rig: Rig) -> None:
        """Only names of our own form are ours."""
        _needs_names(rig)
        made = await rig.made()
        spec = dict(rig.sim.fleet.machines[made.instance].spec)
        stranger = rig.sim.fleet.make(STRANGER, 1.0, spec=spec)
        await rig.clock.sleep(60.0)
        assert [one.instance for one in await rig.driver.list()] == [made.instance]
        await self._end_all(rig)
        assert stranger.gone_s is None

    async def test_every_page_is_read(self, rig: Rig) -> None:
        """A machine on the last page is a machine."""
        _needs_names(rig)
        made = await rig.made()
        spec = dict(rig.sim.fleet.machines[made.instance].spec)
        names = {f"vl-jabcdefgh2-a{number}" for number in range(100, 100 + rig.case.many)}
        for name in names:
            rig.sim.fleet.make(name, 0.1, spec=dict(spec))
        await rig.clock.sleep(60.0)
        assert names <= {one.name for one in await rig.driver.list()}
