"""Google Compute Engine: VMs of one project in any zone, on demand or spot, by a service account's key."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from vaultlayer.driver import Clock, DriverContext, Instance, Manifest, Need, Offer, Order
from vaultlayer.errors import AmbiguousCreateError, ConfigError, DriverError
from vaultlayer_actors.drivers.cloud.bootstrap import script_of
from vaultlayer_actors.drivers.cloud.clock import SteadyClock
from vaultlayer_actors.drivers.cloud.naming import TAG
from vaultlayer_actors.drivers.cloud.opening import ApiDriver, open_api
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.cloud.reply import Reply, error_of_status
from vaultlayer_actors.drivers.cloud.tokens import TokenAuth
from vaultlayer_actors.drivers.gcp.account import read_account, token_request
from vaultlayer_actors.drivers.gcp.catalogue import Kind
from vaultlayer_actors.drivers.gcp.quota import Quotas
from vaultlayer_actors.drivers.gcp.reading import (
    DONE,
    TAKEN,
    TARGET,
    classify,
    complete,
    either,
    error_of_operation,
    handle,
    instance_of,
    kind_at,
    kinds_of,
    last,
    offer_of,
    reasons,
)
from vaultlayer_actors.drivers.gcp.wire import MachineType, Operation, Operations, Page, Row

ENDPOINT = "https://compute.googleapis.com"
IMAGE = "projects/deeplearning-platform-release/global/images/family/common-cu128-ubuntu-2204-nvidia-570"
DISK_GB_LEAST = 50.0
SETTLE_S = 30.0
"""Within this time the operation of a create says when a zone is full."""
LOOK_S = 1.0
PAGE = 500

INTERVALS_S = {"offers": 0.1, "create": 0.1, "list": 0.1, "get": 0.1, "terminate": 0.1}

MANIFEST = Manifest(
    name="gcp",
    title="Google Compute Engine",
    can_spot=True,
    notice_s=30.0,
    boot_s=900.0,
    poll_s=10.0,
    absent_checks=2,
    absent_gap_s=10.0,
    create_s=180.0,
    cooldown_s=30.0,
    needs_keys=True,
    keys={"service_account": "JSON key file of a service account"},
    work_root="/workspace",
    drills=["kill"],
    idempotent=True,
    visibility_s=10.0,
    can_stop=True,
    unit="vm",
    unverified=[
        "prices without a source in the README",
        "what a delete answers while the machine is being deleted",
        "how long a listing lags after a create",
    ],
)


class GcpOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.gcp]` of the configuration file."""

    project: str = ""
    """Id of the project; empty: the one of the key file."""
    network: str = "global/networks/default"
    subnetwork: str = ""
    """`regions/R/subnetworks/S`; for networks that have no automatic ones."""
    prices: dict[str, float] = {}
    """Dollars an hour of a whole machine, by `[<region>/]<machine type>[:spot]`; they go before ours."""
    max_run_h: float = 0.0
    """After this many hours Google itself deletes the machine; 0: never."""


class GcpDriver(ApiDriver):
    """One project with one service account."""

    def __init__(self, context: DriverContext, options: GcpOptions) -> None:
        super().__init__(MANIFEST, context, options)
        if 0 < options.max_run_h < 0.01:
            raise ConfigError("[providers.gcp]: max_run_h is less than Google's 30 seconds")
        self._options = options
        self._key = context.secrets["service_account"]
        clock: Clock = context.clock or SteadyClock()
        self._quotas = Quotas(clock)
        self._api = open_api(
            MANIFEST.name,
            context,
            options,
            endpoint=ENDPOINT,
            intervals_s=INTERVALS_S,
            classify=classify,
            auth=TokenAuth(MANIFEST.name, self._token_request, clock),
            key="service_account",
        )

    def _token_request(self) -> httpx.Request:
        return token_request(read_account(self._key))

    @property
    def _project(self) -> str:
        return self._options.project or read_account(self._key).project_id

    # Offers -----------------------------------------------------------------------------------------

    async def _offers(self, need: Need) -> Sequence[Offer]:
        kinds = kinds_of(need)
        if not kinds:
            return []
        types = await self._zoned("machineTypes", {kind.machine_type for kind in kinds})
        extras = {kind.accelerator for kind in kinds} - {""}
        accelerators = await self._zoned("acceleratorTypes", extras) if extras else {}
        found = [
            self._offer(kind, row, zone, need, spot=spot)
            for kind in kinds
            for zone, row in types.get(kind.machine_type, {}).items()
            if not kind.accelerator or zone in accelerators.get(kind.accelerator, {})
            for spot in self._models()
        ]
        return [offer for offer in found if offer is not None]

    def _fits(self, offer: Offer, need: Need) -> bool:
        return super()._fits(offer, need) and self._quotas.allow(offer)

    def _models(self) -> list[bool]:
        return {"allow": [False, True], "never": [False], "only": [True]}[self._options.spot]

    def _offer(
        self, kind: Kind, row: MachineType, zone: str, need: Need, *, spot: bool
    ) -> Offer | None:
        return offer_of(
            kind,
            row,
            zone,
            disk_gb=max(DISK_GB_LEAST, self._disk_gb(need)),
            own=self._options.prices,
            spot=spot,
            stay_s=self._options.max_run_h * 3600 or None,
        )

    async def _zoned(self, kind: str, names: set[str]) -> dict[str, dict[str, MachineType]]:
        """Give name → zone → row. A zone that does not answer has nothing to offer just now."""
        params = {"filter": either("name", sorted(names)), "returnPartialSuccess": "true"}
        found: dict[str, dict[str, MachineType]] = {}
        for page in await self._pages(f"aggregated/{kind}", "offers", params):
            for scope, part in page.items.items():
                for row in [*part.machineTypes, *part.acceleratorTypes]:
                    found.setdefault(row.name, {})[last(scope)] = row
        return found

    async def _pages(self, path: str, call: str, params: Mapping[str, str]) -> list[Page]:
        found: list[Page] = []
        asked = {**params, "maxResults": str(PAGE)}
        while True:
            reply = await self._api.call("GET", self._path(path), call=call, params=asked)
            page = reply.decode(Page)
            found.append(page)
            if not page.nextPageToken or page.nextPageToken == asked.get("pageToken"):
                return found
            asked["pageToken"] = page.nextPageToken

    def _path(self, rest: str) -> str:
        return f"/compute/v1/projects/{self._project}/{rest}"

    # Machines ---------------------------------------------------------------------------------------

    async def _make(self, order: Order) -> Instance:
        zone, kind, spot = kind_at(order.offer.offer_id)
        path = self._path(f"zones/{zone}/instances")
        token = uuid.uuid5(uuid.NAMESPACE_URL, f"vaultlayer:{order.name}:{order.offer.offer_id}")
        try:
            reply = await self._api.call(
                "POST",
                path,
                call="create",
                is_safe=True,
                accept={409},
                params={"requestId": str(token)},
                json=self._body(order, zone, kind, spot=spot),
            )
            if reply.status == 409:
                return await self._existing(reply, zone, order)
            operation = await self._settle(zone, reply.decode(Operation))
        except DriverError as error:
            self._quotas.note(order.offer, error)
            if type(error) is DriverError and error.retryable:
                # The token makes trying again harmless; that nobody answered still says nothing.
                raise AmbiguousCreateError(error.what, why=error.why, retryable=True) from error
            raise
        if error := error_of_operation(operation):
            self._quotas.note(order.offer, error)
            raise error
        return Instance(
            instance=handle(zone, order.name),
            name=order.name,
            state="booting",
            price_usd_h=order.offer.price_usd_h,
        )

    async def _existing(self, reply: Reply, zone: str, order: Order) -> Instance:
        """Give the machine of that name: the token's time was over, the name still guards."""
        if "alreadyExists" not in reasons(reply):
            raise classify(reply) or error_of_status(reply)
        return await self._look(handle(zone, order.name))

    async def _settle(self, zone: str, operation: Operation) -> Operation:
        """Wait until an operation is done, or has gone well for long enough."""
        until_s = self._clock.now_s() + SETTLE_S
        path = self._path(f"zones/{zone}/operations/{operation.name}")
        while operation.status != DONE and self._clock.now_s() < until_s:
            await self._clock.sleep(LOOK_S)
            reply = await self._api.call("GET", path, call="operation", accept={404})
            if reply.status == 404:
                return operation
            operation = reply.decode(Operation)
        return operation

    def _body(self, order: Order, zone: str, kind: Kind, *, spot: bool) -> dict[str, Any]:
        script = script_of(order, is_vm=True, wheels_url=self._options.wheels_url)
        disk_gb = order.offer.disk_b / 1e9 or max(DISK_GB_LEAST, self._disk_gb())
        return {
            "name": order.name,
            "machineType": f"zones/{zone}/machineTypes/{kind.machine_type}",
            "scheduling": self._scheduling(spot=spot),
            "labels": {TAG: order.name},
            "disks": [
                {
                    "boot": True,
                    "autoDelete": True,
                    "initializeParams": {
                        "sourceImage": self._image(order),
                        "diskSizeGb": str(round(disk_gb)),
                        "diskType": f"zones/{zone}/diskTypes/{kind.disk_type}",
                    },
                }
            ],
            "networkInterfaces": [self._interface()],
            "guestAccelerators": _accelerators(zone, kind),
            "metadata": {"items": [{"key": "startup-script", "value": script}]},
            # A machine gets no account of Google's: what it may reach is what its job may.
            "serviceAccounts": [],
        }

    def _scheduling(self, *, spot: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "provisioningModel": "SPOT" if spot else "STANDARD",
            "onHostMaintenance": "TERMINATE",
            "automaticRestart": False,
        }
        if self._options.max_run_h:
            fields["maxRunDuration"] = {"seconds": str(round(self._options.max_run_h * 3600))}
        if spot or self._options.max_run_h:
            fields["instanceTerminationAction"] = "DELETE"
        return fields

    def _image(self, order: Order) -> str:
        """Give the disk image: a job's container image is no disk."""
        return order.image if order.image.startswith("projects/") else self._options.image or IMAGE

    def _interface(self) -> dict[str, Any]:
        access = {"type": "ONE_TO_ONE_NAT", "name": "External NAT"}
        fields: dict[str, Any] = {"network": self._options.network, "accessConfigs": [access]}
        if self._options.subnetwork:
            fields["subnetwork"] = self._options.subnetwork
        return fields

    async def _listed(self) -> Sequence[Instance]:
        return await self._rows({})

    async def _named(self, name: str) -> Sequence[Instance]:
        return await self._rows({"filter": f'name = "{name}"'})

    async def _rows(self, params: Mapping[str, str]) -> list[Instance]:
        found: list[Instance] = []
        for page in await self._pages("aggregated/instances", "list", params):
            complete(page)
            for scope, part in page.items.items():
                zone = last(scope)
                found += [instance_of(row, zone) for row in part.instances]
        return found

    async def _look(self, instance: str) -> Instance:
        name, _, zone = instance.partition("@")
        if not zone:
            return await self._sought(name)
        path = self._path(f"zones/{zone}/instances/{name}")
        reply = await self._api.call("GET", path, call="get", accept={404})
        if reply.status != 404:
            return instance_of(reply.decode(Row), zone)
        return Instance(
            instance=instance, name=name, state="gone", detail=await self._taken(zone, name)
        )

    async def _sought(self, name: str) -> Instance:
        """Look for a machine whose zone nobody has told."""
        found = await self._named(name)
        return found[0] if found else Instance(instance=name, name=name, state="gone")

    async def _taken(self, zone: str, name: str) -> str:
        """Say whether Google took a machine that is gone; empty when it did not, or does not say."""
        target = f"{TARGET}/projects/{self._project}/zones/{zone}/instances/{name}"
        clauses = f'(operationType = "{TAKEN}") AND (targetLink = "{target}")'
        path = self._path(f"zones/{zone}/operations")
        try:
            reply = await self._api.call(
                "GET", path, call="operations", params={"filter": clauses, "maxResults": "1"}
            )
            return "preempted" if reply.decode(Operations).items else ""
        except DriverError:
            return ""

    async def _end(self, instance: str) -> None:
        name, _, zone = instance.partition("@")
        if not zone:
            found = await self._sought(name)
            if found.state == "gone":
                return
            zone = found.instance.partition("@")[2]
        path = self._path(f"zones/{zone}/instances/{name}")
        reply = await self._api.call("DELETE", path, call="terminate", accept={400, 404, 409})
        if reply.status in {400, 409} and "resourceNotReady" not in reasons(reply):
            raise classify(reply) or error_of_status(reply)


def _accelerators(zone: str, kind: Kind) -> list[dict[str, Any]]:
    if not kind.accelerator:
        return []
    kind_url = f"zones/{zone}/acceleratorTypes/{kind.accelerator}"
    return [{"acceleratorType": kind_url, "acceleratorCount": kind.count}]


TYPE = CloudDriverType(MANIFEST, GcpOptions, GcpDriver)
