"""The frame of a cloud's driver: what is the same for all of them, around the few calls that are not.

A driver gives `_offers`, `_make`, `_listed`, `_look` and `_end`; names, safe creates, cool-downs, filters
and the order of offers come from here.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from vaultlayer.driver import (
    Account,
    Clock,
    DriverContext,
    Instance,
    Manifest,
    Need,
    Offer,
    OfferList,
    Order,
)
from vaultlayer.errors import CapacityError, DrillError, DriverError
from vaultlayer.ids import parse_instance_name
from vaultlayer_actors.drivers.cloud.api import Api
from vaultlayer_actors.drivers.cloud.clock import SteadyClock
from vaultlayer_actors.drivers.cloud.cooldown import Cooldown
from vaultlayer_actors.drivers.cloud.create import create_once
from vaultlayer_actors.drivers.cloud.naming import own
from vaultlayer_actors.drivers.cloud.options import CloudOptions

OFFERS_S = 15.0
"""For how long a list of offers is good enough; one that is sold meanwhile says so at the create."""


class CloudDriver(ABC):
    """One provider, as one pool uses it."""

    needs_gpu = True
    """It is not asked for machines without a GPU: they would be ordered for what a laptop does as well."""

    def __init__(self, manifest: Manifest, context: DriverContext, options: CloudOptions) -> None:
        work_root = options.work_root or manifest.work_root
        self._manifest = msgspec.structs.replace(manifest, work_root=work_root)
        self._common = options
        self._clock: Clock = context.clock or SteadyClock()
        self._cooldown = Cooldown(self._clock)
        self._recent: dict[str, tuple[float, Sequence[Offer]]] = {}
        self._unproven: dict[str, str] = {}
        """Instances of ours that were never seen running → the physical machine they stand on."""

    # What a driver gives ----------------------------------------------------------------------------

    @abstractmethod
    async def _offers(self, need: Need) -> Sequence[Offer]:
        """List what could be had for a need with a GPU, at all-in prices; order and filters come later."""

    @abstractmethod
    async def _make(self, order: Order) -> Instance:
        """Call create once; raises AmbiguousCreateError where the outcome is unknown."""

    @abstractmethod
    async def _listed(self) -> Sequence[Instance]:
        """List the account's machines, every page; strangers' may be among them, ending ones too."""

    @abstractmethod
    async def _look(self, instance: str) -> Instance:
        """Look at one machine; `gone` where the provider knows none."""

    @abstractmethod
    async def _end(self, instance: str) -> None:
        """Terminate one machine; one that is gone is no error."""

    async def _named(self, name: str) -> Sequence[Instance]:
        """List the machines of one name; overridden where the provider filters by name."""
        del name
        return await self.list()

    async def _account(self) -> Account:
        """Ask for balance and rights; overridden where the provider has a call for it."""
        return Account()

    # What the pool calls ----------------------------------------------------------------------------

    @property
    def manifest(self) -> Manifest:
        """What is true of the provider as a whole."""
        return self._manifest

    async def offers(self, need: Need) -> OfferList:
        """List what can be had now, cheapest first; a failure of the provider is a refusal."""
        name = self._manifest.name
        if self.needs_gpu and not need.gpu:
            return OfferList(provider=name, refusal=f"{name} is asked for GPUs only; name one")
        try:
            found = await self._recent_offers(need)
        except DriverError as error:
            why = f": {error.why}" if error.why else ""
            return OfferList(provider=name, refusal=f"{error.what}{why}")
        fitting = [one for one in found if self._fits(one, need)]
        if not fitting:
            why = f"none of its {len(found)} machines fits" if found else "it has none now"
            return OfferList(provider=name, refusal=f"no {need.gpu}:{need.gpu_count}: {why}")
        ready = [one for one in fitting if not self._cooldown.left_s(one)]
        if not ready:
            return OfferList(
                provider=name, refusal="all that fits has just failed; it rests a while"
            )
        ready.sort(key=lambda one: (one.price_usd_h, one.offer_id))
        return OfferList(provider=name, offers=ready[: self._common.offers_max])

    async def create(self, order: Order) -> Instance:
        """Make a machine, or give the one of that name that is there.

        Raises:
            CapacityError: there is none just now; the offer rests a while.
            AmbiguousCreateError: whether there is one is unknown.
            DriverError: the provider refused.
        """
        if parse_instance_name(order.name) is None:
            raise DriverError(f"{order.name!r} is no name of an instance")
        try:
            made = await create_once(
                order.name,
                manifest=self._manifest,
                clock=self._clock,
                make=lambda: self._make(order),
                look=self._named,
                end=self._end,
            )
        except CapacityError:
            self._cooldown.offer_failed(order.offer)
            raise
        self._unproven[made.instance] = order.offer.machine
        return made

    async def get(self, instance: str) -> Instance:
        """Look at one machine; one that is not there has the state `gone`."""
        found = await self._look(instance)
        self._note(found)
        return found

    async def list(self) -> Sequence[Instance]:
        """List all machines with a name of ours, also those that are ending."""
        found = own(await self._listed())
        for one in found:
            self._note(one)
        return found

    async def terminate(self, instance: str) -> None:
        """End a machine and its billing; one that never ran leaves its physical machine in disgrace."""
        await self._end(instance)
        self._cooldown.machine_failed(self._unproven.pop(instance, ""))

    async def account(self) -> Account:
        """Tell what the provider tells of our account."""
        told = await self._account()
        api = getattr(self, "_api", None)
        if told.skew_s is None and isinstance(api, Api):
            told = msgspec.structs.replace(told, skew_s=api.skew_s)
        return told

    async def drill(self, instance: str, verb: str, grace_s: float) -> str:
        """End the machine at once for `kill`; nothing else can be done from outside.

        Raises:
            DrillError: the provider has no way to do it.
        """
        del grace_s
        if verb != "kill" or "kill" not in self._manifest.drills:
            raise DrillError(
                f"{self._manifest.name} has no drill {verb!r}",
                why="its API can only end a machine",
                mend="drill `kill`",
            )
        self._unproven.pop(instance, None)
        await self._end(instance)
        return f"{self._manifest.name} was told to end {instance}"

    @abstractmethod
    async def close(self) -> None:
        """Give back what the driver holds open; machines live on."""

    # ------------------------------------------------------------------------------------------------

    async def _recent_offers(self, need: Need) -> Sequence[Offer]:
        """Ask anew only when the last answer is old: several who ask at once cost one search."""
        now_s, key = self._clock.now_s(), f"{need.gpu}:{need.gpu_count}:{need.disk_b}"
        known = self._recent.get(key)
        if known is None or now_s - known[0] >= OFFERS_S:
            known = self._recent[key] = (now_s, await self._offers(need))
        return known[1]

    def _fits(self, offer: Offer, need: Need) -> bool:
        options = self._common
        if offer.gpu != need.gpu or offer.gpu_count != max(1, need.gpu_count):
            return False
        if options.spot == ("never" if offer.spot else "only"):
            return False
        return not options.regions or offer.region in options.regions

    def _note(self, seen: Instance) -> None:
        if seen.state == "running":
            self._unproven.pop(seen.instance, None)

    def _disk_gb(self, need: Need | None = None) -> float:
        asked_gb = need.disk_b / 1e9 if need else 0.0
        return max(self._common.disk_gb, asked_gb)
