"""What can be bought where: types and zones, prices on demand from the table, spot prices as they are now."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from vaultlayer.driver import Clock, Need, Offer
from vaultlayer.errors import DriverError
from vaultlayer_actors.drivers.aws.catalogue import ALIASES, FAMILIES, on_demand_usd_h
from vaultlayer_actors.drivers.aws.ec2 import Ec2
from vaultlayer_actors.drivers.aws.options import AwsOptions
from vaultlayer_actors.drivers.aws.reading import (
    ARCH,
    Terms,
    demand_offers,
    fitting,
    spot_offers,
)
from vaultlayer_actors.drivers.aws.request import newest
from vaultlayer_actors.drivers.aws.wire import (
    Image,
    Images,
    Kind,
    Kinds,
    Offering,
    Offerings,
    SpotPrice,
    SpotPrices,
)

IMAGE = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) *"
KNOWN_S = 3600.0
"""For how long types, zones and images are good enough: they change by the month."""

T = TypeVar("T")


class Market:
    """Offers and images of an account's regions."""

    def __init__(self, ec2: Ec2, options: AwsOptions, clock: Clock) -> None:
        self._ec2 = ec2
        self._options = options
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, Any]] = {}

    async def offers(self, region: str, need: Need, disk_gb: float) -> list[Offer]:
        """Give all offers in a region; the disk has so many GB."""
        kinds = fitting(await self._kinds(region), need)
        if not kinds:
            return []
        names = [kind.instance_type for kind in kinds]
        own = self._options.on_demand_usd_h
        usd_h = {name: on_demand_usd_h(region, name, own) for name in names}
        terms = Terms(disk_gb=disk_gb, egress_usd_gb=self._options.egress_usd_gb)
        found: list[Offer] = []
        if self._options.spot != "only":
            found += demand_offers(kinds, await self._offerings(region), usd_h, terms)
        if self._options.spot != "never":
            found += spot_offers(kinds, await self._spot_prices(region, names), usd_h, terms)
        return found

    async def strange_gpus(self, region: str) -> list[str]:
        """Give the names of NVIDIA's GPUs that a region has and nobody here knows."""
        gpus = [
            gpu for kind in await self._kinds(region) if kind.gpu_info for gpu in kind.gpu_info.gpus
        ]
        return sorted({gpu.name for gpu in gpus if gpu.manufacturer == "NVIDIA"} - set(ALIASES))

    async def image(self, region: str, asked: str) -> Image:
        """Give the image to start: the asked-for one where it is an AMI, else the options' or ours."""
        wanted = asked if asked.startswith("ami-") else self._options.image or IMAGE

        async def ask() -> Image:
            by_name = {
                "Owners": [self._options.image_owner],
                "Filters": [
                    {"Name": "name", "Values": [wanted]},
                    {"Name": "architecture", "Values": [ARCH]},
                    {"Name": "state", "Values": ["available"]},
                ],
            }
            request: dict[str, Any] = (
                {"ImageIds": [wanted]} if wanted.startswith("ami-") else by_name
            )
            found = await self._ec2.call(
                region, "describe_images", Images, call="images", **request
            )
            image = newest(found.images) if found else None
            if image is None:
                raise DriverError(
                    f"no image {wanted!r} in {region}",
                    mend="name an AMI of that region as `image` in [providers.aws]",
                )
            return image

        return await self._once_an_hour(region, f"image {wanted}", ask)

    async def _kinds(self, region: str) -> list[Kind]:
        async def ask() -> list[Kind]:
            filters = [{"Name": "instance-type", "Values": list(FAMILIES)}]
            pages = await self._ec2.pages(
                region, "describe_instance_types", Kinds, call="offers", Filters=filters
            )
            return [kind for page in pages for kind in page.instance_types]

        return await self._once_an_hour(region, "kinds", ask)

    async def _offerings(self, region: str) -> list[Offering]:
        async def ask() -> list[Offering]:
            filters = [{"Name": "instance-type", "Values": list(FAMILIES)}]
            pages = await self._ec2.pages(
                region,
                "describe_instance_type_offerings",
                Offerings,
                call="offers",
                LocationType="availability-zone",
                Filters=filters,
            )
            return [one for page in pages for one in page.instance_type_offerings]

        return await self._once_an_hour(region, "offerings", ask)

    async def _spot_prices(self, region: str, names: list[str]) -> list[SpotPrice]:
        pages = await self._ec2.pages(
            region,
            "describe_spot_price_history",
            SpotPrices,
            call="offers",
            InstanceTypes=names,
            ProductDescriptions=["Linux/UNIX"],
            # From now on means: the price that holds now.
            StartTime=datetime.fromtimestamp(time.time(), UTC),
        )
        return [price for page in pages for price in page.spot_price_history]

    async def _once_an_hour(self, region: str, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        now_s = self._clock.now_s()
        known = self._known.get((region, what))
        if known is None or now_s - known[0] >= KNOWN_S:
            known = self._known[(region, what)] = (now_s, await ask())
        return known[1]
