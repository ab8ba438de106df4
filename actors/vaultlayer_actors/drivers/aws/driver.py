"""AWS EC2 in several regions: RunInstances by token, listings by tag, prices from the spot history."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.driver import Account, Clock, DriverContext, Instance, Need, Offer, Order
from vaultlayer.errors import AuthError, CapacityError, DriverError
from vaultlayer_actors.drivers.aws.catalogue import (
    REGIONS,
    on_demand_usd_h,
)
from vaultlayer_actors.drivers.aws.ec2 import Ec2, Key
from vaultlayer_actors.drivers.aws.market import Market
from vaultlayer_actors.drivers.aws.options import INTERVALS_S, MANIFEST, AwsOptions
from vaultlayer_actors.drivers.aws.reading import (
    NO_ROOM,
    UNKNOWN_INSTANCE,
    Place,
    instance_of,
    place_of,
)
from vaultlayer_actors.drivers.aws.request import Plan, dry_run, run_instances
from vaultlayer_actors.drivers.aws.wire import (
    Ended,
    Ran,
    Reservations,
    Row,
)
from vaultlayer_actors.drivers.cloud.bootstrap import script_of
from vaultlayer_actors.drivers.cloud.clock import SteadyClock
from vaultlayer_actors.drivers.cloud.driver import CloudDriver
from vaultlayer_actors.drivers.cloud.limiter import shared_limiter
from vaultlayer_actors.drivers.cloud.naming import TAG
from vaultlayer_actors.drivers.cloud.options import CloudDriverType

QUOTA_S = 600.0
"""How long a region rests after its quota was used up."""

T = TypeVar("T")


class AwsDriver(CloudDriver):
    """EC2 with one key."""

    def __init__(self, context: DriverContext, options: AwsOptions) -> None:
        super().__init__(MANIFEST, context, options)
        self._options = options
        clock: Clock = context.clock or SteadyClock()
        key = Key(
            access_key_id=context.secrets["access_key_id"],
            secret_access_key=context.secrets["secret_access_key"],
        )
        self._ec2 = Ec2(
            key,
            endpoint=options.endpoint,
            limiter=shared_limiter(options.endpoint, key.access_key_id, INTERVALS_S, clock),
            clock=clock,
            ca_file=options.ca_file,
        )
        self._market = Market(self._ec2, options, clock)
        self._regions = tuple(options.regions) or REGIONS
        self._region_of: dict[str, str] = {}
        self._made: dict[str, tuple[Instance, float]] = {}
        """Machines that no listing has shown yet → until when that means nothing."""
        self._ordered: dict[str, Offer] = {}
        self._resting: dict[tuple[str, bool], float] = {}
        """Region and market → until when its quota is taken to be used up."""

    async def close(self) -> None:
        """Close the connections."""
        await self._ec2.close()

    async def _account(self) -> Account:
        region = self._regions[0]
        strange = await self._market.strange_gpus(region)
        request = dry_run(await self._market.image(region, ""))
        can_create, refusal = True, ""
        try:
            await self._ec2.call(
                region, "run_instances", Ran, call="account", accept={"DryRunOperation"}, **request
            )
        except AuthError as error:
            can_create, refusal = False, error.why or error.what
        return Account(
            can_create=can_create,
            refusal=refusal,
            strange_gpus=strange,
            skew_s=self._ec2.skew_s,
        )

    # Offers -----------------------------------------------------------------------------------------

    async def _offers(self, need: Need) -> Sequence[Offer]:
        if need.image and not need.image.startswith("ami-"):
            raise DriverError(
                "AWS starts machine images only",
                why=f"{need.image!r} is none",
                mend="--image ami-…",
            )
        gb = self._disk_gb(need)
        return [
            one
            for found in await self._everywhere(
                lambda region: self._market.offers(region, need, gb)
            )
            for one in found
        ]

    def _fits(self, offer: Offer, need: Need) -> bool:
        until_s = self._resting.get((offer.region, offer.spot), 0.0)
        return super()._fits(offer, need) and until_s <= self._clock.now_s()

    # Machines ---------------------------------------------------------------------------------------

    async def _make(self, order: Order) -> Instance:
        place = place_of(order.offer.offer_id)
        plan = Plan(
            name=order.name,
            place=place,
            image=await self._market.image(place.region, order.image),
            script=script_of(order, is_vm=True, wheels_url=self._options.wheels_url),
            disk_gb=max(self._disk_gb(), order.offer.disk_b / 1e9),
            subnet=self._options.subnets.get(place.zone, ""),
            security_groups=self._options.security_groups.get(place.region, []),
        )
        try:
            ran = await self._ec2.call(
                place.region, "run_instances", Ran, call="create", **run_instances(plan)
            )
        except CapacityError as error:
            self._rest(place, error)
            raise
        if ran is None or not ran.instances:
            raise CapacityError("AWS made nothing", retryable=True)
        return self._created(order, place, ran.instances[0])

    def _created(self, order: Order, place: Place, row: Row) -> Instance:
        made = instance_of(row, order.offer.price_usd_h)
        if made.state == "gone":
            # The token still stands for the machine that this name has had.
            raise CapacityError(f"{order.name} has been and is gone", why=made.detail)
        self._region_of[made.instance] = place.region
        self._ordered[made.instance] = order.offer
        until_s = self._clock.now_s() + MANIFEST.visibility_s
        hidden = msgspec.structs.replace(made, state="booting", detail="not shown yet")
        self._made[made.instance] = (hidden, until_s)
        return made

    def _rest(self, place: Place, error: CapacityError) -> None:
        if error.mend:
            self._resting[(place.region, place.spot)] = self._clock.now_s() + QUOTA_S

    async def _listed(self) -> Sequence[Instance]:
        return await self._tagged({"Name": "tag-key", "Values": [TAG]})

    async def _named(self, name: str) -> Sequence[Instance]:
        return await self._tagged({"Name": f"tag:{TAG}", "Values": [name]})

    async def _tagged(self, one: dict[str, Any]) -> list[Instance]:
        # No filter by state: a word that is new must not hide a machine.
        async def ask(region: str) -> list[Instance]:
            pages = await self._ec2.pages(
                region, "describe_instances", Reservations, call="list", Filters=[one]
            )
            rows = [row for page in pages for one in page.reservations for row in one.instances]
            return [self._seen(region, row) for row in rows]

        found = await self._everywhere(ask, must_all=True)
        return [instance for some in found for instance in some]

    async def _look(self, instance: str) -> Instance:
        for region in self._where(instance):
            found = await self._ec2.call(
                region,
                "describe_instances",
                Reservations,
                call="get",
                accept=UNKNOWN_INSTANCE,
                InstanceIds=[instance],
            )
            rows = [row for one in found.reservations for row in one.instances] if found else []
            if rows:
                return self._seen(region, rows[0])
        return self._unseen(instance) or Instance(instance=instance, name="", state="gone")

    async def _end(self, instance: str) -> None:
        for region in self._where(instance):
            # One id a call: an id that is unknown would void the whole call.
            ended = await self._ec2.call(
                region,
                "terminate_instances",
                Ended,
                call="terminate",
                accept=UNKNOWN_INSTANCE,
                InstanceIds=[instance],
            )
            if ended is not None:
                self._made.pop(instance, None)
                return
        if self._unseen(instance):
            raise DriverError(
                f"AWS does not know {instance} yet",
                why="it was made a moment ago",
                retryable=True,
            )

    # ------------------------------------------------------------------------------------------------

    def _where(self, instance: str) -> tuple[str, ...]:
        """Give the regions in which a machine may be: one, where it was ever seen."""
        known = self._region_of.get(instance)
        return (known,) if known else self._regions

    def _seen(self, region: str, row: Row) -> Instance:
        self._region_of[row.instance_id] = region
        self._made.pop(row.instance_id, None)
        offer = self._ordered.get(row.instance_id)
        if offer is not None and row.state_reason and row.state_reason.code in NO_ROOM:
            self._cooldown.offer_failed(offer)
        own = self._options.on_demand_usd_h
        usd_h = on_demand_usd_h(region, row.instance_type, own) or 0.0
        return instance_of(row, offer.price_usd_h if offer else usd_h)

    def _unseen(self, instance: str) -> Instance | None:
        """Give a machine that was just made and that EC2 does not show yet; None when that time is over."""
        made, until_s = self._made.get(instance, (None, 0.0))
        return made if self._clock.now_s() < until_s else None

    async def _everywhere(
        self, ask: Callable[[str], Awaitable[T]], *, must_all: bool = False
    ) -> list[T]:
        """Ask all regions at once; without `must_all` one that answers is enough."""
        found: list[T] = []
        failed: list[DriverError] = []

        async def work(region: str) -> None:
            try:
                found.append(await ask(region))
            except DriverError as error:
                failed.append(error)

        async with task_group() as group:
            for region in self._regions:
                group.start_soon(work, region)
        if failed and (must_all or not found):
            raise failed[0]
        return found


TYPE = CloudDriverType(MANIFEST, AwsOptions, AwsDriver)
