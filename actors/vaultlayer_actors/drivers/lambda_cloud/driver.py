"""Lambda: the calls of its Cloud API."""

import re
from collections.abc import Sequence

import msgspec

from vaultlayer.driver import (
    Account,
    DriverContext,
    Instance,
    Manifest,
    Need,
    Offer,
    OfferList,
    Order,
)
from vaultlayer.errors import AmbiguousCreateError, DriverError
from vaultlayer_actors.drivers.cloud.bootstrap import script_of
from vaultlayer_actors.drivers.cloud.naming import TAG
from vaultlayer_actors.drivers.cloud.opening import ApiDriver, open_api
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.lambda_cloud.reading import (
    classify,
    instance_of,
    offers_of,
    strange_gpus,
)
from vaultlayer_actors.drivers.lambda_cloud.wire import (
    ImageFamily,
    Launch,
    Launched,
    OneRow,
    Rows,
    SshKeys,
    Tag,
    Types,
)

ENDPOINT = "https://cloud.lambda.ai"
USER_DATA_B_MAX = 1_000_000
FAMILY = re.compile(r"[a-z0-9][a-z0-9.-]*")
"""A family of machine images; the name of a container image has a slash or a colon."""

INTERVALS_S = {"*": 1.0, "create": 12.0}
"""The vendor's limits: a call a second over all, a launch each twelve seconds."""

MANIFEST = Manifest(
    name="lambda",
    title="Lambda",
    billing_step_s=60.0,
    boot_s=1800.0,
    poll_s=20.0,
    absent_checks=2,
    absent_gap_s=10.0,
    create_s=150.0,
    cooldown_s=60.0,
    needs_keys=True,
    keys={"api_key": "API key (API keys at cloud.lambda.ai)"},
    work_root="/home/ubuntu/vaultlayer",
    drills=["kill"],
    visibility_s=30.0,
    unit="vm",
    unverified=[
        "how long a listing lags after a launch",
        "for how long a terminated instance is still listed",
        "who is ever preempted, and whether it is told before",
        "the body of a 429",
    ],
)


class LambdaOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.lambda]` of the configuration file; `image` is a family of machine images."""

    ssh_key: str = ""
    """Name of the account's key that Lambda puts on each machine; empty: the first. We never use it."""


class LambdaDriver(ApiDriver):
    """Lambda with one API key."""

    def __init__(self, context: DriverContext, options: LambdaOptions) -> None:
        super().__init__(MANIFEST, context, options)
        self._options = options
        self._ssh_key = options.ssh_key
        self._api = open_api(
            MANIFEST.name,
            context,
            options,
            endpoint=ENDPOINT,
            intervals_s=INTERVALS_S,
            classify=classify,
        )

    async def offers(self, need: Need) -> OfferList:
        """List what can be had now; a job that names a container image is refused in words."""
        if need.image and not FAMILY.fullmatch(need.image):
            why = "Lambda rents whole machines, which run no container image"
            return OfferList(provider="lambda", refusal=f"{why}: {need.image}")
        return await super().offers(need)

    async def _offers(self, need: Need) -> Sequence[Offer]:
        reply = await self._api.call("GET", "/api/v1/instance-types", call="offers")
        items = reply.decode(Types).data.values()
        disk_gb = self._disk_gb(need)
        return [offer for item in items for offer in offers_of(item, need, disk_gb=disk_gb)]

    async def _account(self) -> Account:
        """Ask for types whose GPU is new; Lambda tells no balance."""
        reply = await self._api.call("GET", "/api/v1/instance-types", call="offers")
        return Account(strange_gpus=strange_gpus(reply.decode(Types).data.values()))

    # Machines ---------------------------------------------------------------------------------------

    async def _make(self, order: Order) -> Instance:
        body = self._launch_body(order, await self._any_ssh_key())
        reply = await self._api.call(
            "POST",
            "/api/v1/instance-operations/launch",
            call="create",
            is_safe=False,
            json=msgspec.to_builtins(body),
        )
        ids = reply.decode(Launched).data.instance_ids
        if not ids:
            raise AmbiguousCreateError("Lambda launched and named no instance", why=reply.text)
        return Instance(
            instance=ids[0],
            name=order.name,
            state="booting",
            price_usd_h=order.offer.price_usd_h,
        )

    def _launch_body(self, order: Order, ssh_key: str) -> Launch:
        kind, _, region = order.offer.offer_id.partition("/")
        script = script_of(order, is_vm=True, wheels_url=self._options.wheels_url)
        if len(script.encode()) > USER_DATA_B_MAX:
            raise DriverError("the boot script is larger than Lambda allows")
        family = order.image if FAMILY.fullmatch(order.image) else self._options.image
        return Launch(
            region_name=region,
            instance_type_name=kind,
            ssh_key_names=[ssh_key],
            name=order.name,
            hostname=order.name,
            user_data=script,
            tags=[Tag(key=TAG, value=order.name)],
            image=ImageFamily(family=family) if family else None,
        )

    async def _any_ssh_key(self) -> str:
        if not self._ssh_key:
            reply = await self._api.call("GET", "/api/v1/ssh-keys", call="keys")
            keys = reply.decode(SshKeys).data
            if not keys:
                raise DriverError(
                    "the Lambda account has no SSH key",
                    why="Lambda launches no machine without one",
                    mend="add one at cloud.lambda.ai/ssh-keys",
                )
            self._ssh_key = keys[0].name
        return self._ssh_key

    async def _listed(self) -> Sequence[Instance]:
        reply = await self._api.call("GET", "/api/v1/instances", call="list")
        return [instance_of(row) for row in reply.decode(Rows).data]

    async def _look(self, instance: str) -> Instance:
        path = f"/api/v1/instances/{instance}"
        reply = await self._api.call("GET", path, call="get", accept={404})
        if reply.status == 404:
            return Instance(instance=instance, name="", state="gone")
        return instance_of(reply.decode(OneRow).data)

    async def _end(self, instance: str) -> None:
        # One id a call: an unknown one would fail the others along.
        await self._api.call(
            "POST",
            "/api/v1/instance-operations/terminate",
            call="terminate",
            is_safe=True,
            accept={404},
            json={"instance_ids": [instance]},
        )


TYPE = CloudDriverType(MANIFEST, LambdaOptions, LambdaDriver)
