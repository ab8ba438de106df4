"""The frame of clouds that rent whole VMs at fixed prices: DigitalOcean, Vultr, CloudRift, Hyperstack.

Each machine has its disk and its traffic in its price, boots a machine image and takes a script as user
data. None of them has spot machines, a notice, or a create that may be repeated.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import httpx
import msgspec

from vaultlayer.driver import DriverContext, Manifest, Need, Offer, Order, PriceParts
from vaultlayer.errors import AmbiguousCreateError, DriverError
from vaultlayer_actors.drivers.cloud.api import Classify
from vaultlayer_actors.drivers.cloud.bootstrap import script_of
from vaultlayer_actors.drivers.cloud.gpus import variant_of
from vaultlayer_actors.drivers.cloud.opening import ApiDriver, open_api
from vaultlayer_actors.drivers.cloud.options import CloudOptions
from vaultlayer_actors.drivers.cloud.pricing import all_in_usd_h
from vaultlayer_actors.drivers.cloud.reply import Reply, error_of_status


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of machine that can be had in one place now."""

    plan: str
    """The provider's own id; with the region it is the offer's."""
    region: str
    gpu: str
    """Canonical; a GPU that cannot be told for certain is no plan."""
    gpu_count: int
    usd_h: float
    """Of the whole machine, its disk included."""
    disk_b: int
    cpus: int = 0
    memory_b: int = 0
    gpu_memory_b: int = 0
    """Of one GPU."""
    detail: str = ""
    address_usd_h: float = 0.0
    """What a public address costs beside."""
    arch: str = "x86_64"


class VmDriver(ApiDriver):
    """One such cloud with one API key.

    Args:
        manifest: of the provider.
        context: what the pool gives.
        options: the provider's table of the configuration.
        endpoint: base URL where the options name none.
        auth: what signs a request.
        intervals_s: least seconds between calls, by name.
        classify: what failed answers mean; None: as their HTTP status says.
        billing: the step and the least of its bills; prices are filled in.
    """

    def __init__(
        self,
        manifest: Manifest,
        context: DriverContext,
        options: CloudOptions,
        *,
        endpoint: str,
        auth: httpx.Auth,
        intervals_s: Mapping[str, float],
        classify: Classify,
        billing: PriceParts,
    ) -> None:
        super().__init__(manifest, context, options)
        self._classify = classify
        self._billing = billing
        self._api = open_api(
            manifest.name,
            context,
            options,
            endpoint=endpoint,
            intervals_s=intervals_s,
            classify=self._judge,
            auth=auth,
        )

    @abstractmethod
    async def _plans(self, need: Need) -> Sequence[Plan]:
        """List what can be had now; other GPUs may be among it."""

    async def _offers(self, need: Need) -> Sequence[Offer]:
        name = self._manifest.name
        if self._common.spot == "only":
            raise DriverError(
                f"{name} has no spot machines", mend=f'[providers.{name}] spot = "allow"'
            )
        if is_container(need.image):
            raise DriverError(
                f"{name} boots machine images", why=f"{need.image!r} is a container image"
            )
        disk_b = int(self._disk_gb(need) * 1e9)
        plans = await self._plans(need)
        return [self._offer(one) for one in plans if one.gpu == need.gpu and one.disk_b >= disk_b]

    def _offer(self, plan: Plan) -> Offer:
        parts = msgspec.structs.replace(
            self._billing, machine_usd_h=plan.usd_h + plan.address_usd_h
        )
        return Offer(
            provider=self._manifest.name,
            offer_id=f"{plan.plan}@{plan.region}",
            gpu=plan.gpu,
            gpu_count=plan.gpu_count,
            price_usd_h=all_in_usd_h(parts),
            region=plan.region,
            cpus=plan.cpus,
            memory_b=plan.memory_b,
            disk_b=plan.disk_b,
            detail=plan.detail or plan.plan,
            parts=parts,
            gpu_memory_b=plan.gpu_memory_b,
            variant=variant_of(plan.detail or plan.plan),
            arch=plan.arch,
        )

    def _script(self, order: Order) -> str:
        return script_of(order, is_vm=True, wheels_url=self._common.wheels_url)

    def _image(self, order: Order, own: str) -> str:
        """Give the machine image of an order: the job's, the configured one, or the driver's own."""
        asked = "" if is_container(order.image) else order.image
        return asked or self._common.image or own

    def _judge(self, reply: Reply) -> DriverError | None:
        known = self._classify(reply)
        if known is not None or reply.is_safe:
            return known
        error = error_of_status(reply)
        # Words that nobody knows say nothing about the machine: look for it.
        return (
            AmbiguousCreateError(error.what, why=error.why) if type(error) is DriverError else error
        )


def plan_of(offer: Offer) -> str:
    """Give the provider's id of what was offered."""
    return offer.offer_id.rpartition("@")[0]


def is_container(image: str) -> bool:
    """Whether an image names a container (`repo/name:tag`), which is no machine's image; a URL does not."""
    return "://" not in image and ("/" in image or ":" in image)
