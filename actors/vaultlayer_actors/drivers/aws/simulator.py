"""EC2 on loopback: query protocol with real signatures, tokens, spot interruptions, metadata of version 2."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.drivers.aws.catalogue import ON_DEMAND_USD_H
from vaultlayer_actors.drivers.aws.imds import Imds
from vaultlayer_actors.drivers.aws.protocol import (
    Form,
    Tree,
    answer,
    refused,
    signature_of,
    signed_by,
)
from vaultlayer_actors.drivers.aws.rules import (
    filters_of,
    is_asked,
    limits_broken,
    matches,
    no_capacity,
    paged,
    row_of,
    user_data_of,
)
from vaultlayer_actors.drivers.aws.stock import (
    AMI,
    TYPES,
    Type,
    image_rows,
    spot_usd_h,
    type_row,
    zones_of,
)
from vaultlayer_actors.drivers.cloud.naming import TAG
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.metadata import VARIABLE, metadata_url
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Seen, Simulator

KEY_ID = "AKIASIMULATED0000000"
KEPT_S = 3600.0
"""For how long a terminated instance stays listed."""

WORDS: dict[State, str | None] = {
    State.BOOTING: "pending",
    State.RUNNING: "running",
    # What its user data ran has ended; the machine is up.
    State.EXITED: "running",
    State.STOPPED: "stopped",
    State.FAILED: "terminated",
    State.ENDING: "shutting-down",
    State.GONE: "terminated",
}
CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
CALLS = {
    "RunInstances": "create",
    "TerminateInstances": "terminate",
    "DescribeInstances": "list",
    "DescribeInstanceTypes": "offers",
    "DescribeInstanceTypeOfferings": "offers",
    "DescribeSpotPriceHistory": "offers",
    "DescribeImages": "images",
    "DescribeRegions": "regions",
}


def instance_id(number: int) -> str:
    """Give EC2's kind of id."""
    return f"i-{number:017x}"


class AwsSimulator(Simulator):
    """One account in four regions; the region is the one that the request was signed for."""

    id_of = staticmethod(instance_id)

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        self.fleet.is_vm = True
        self.fleet.knobs.gone_kept_s = KEPT_S
        self.tokens: dict[tuple[str, str], tuple[str, str]] = {}
        """Zone and ClientToken → digest of the other parameters, instance."""
        self.spot: dict[tuple[str, str], float] = {}
        """Zone and type → a spot price other than the ordinary one."""
        self._bodies: dict[int, bytes] = {}
        """Of the requests that are being served."""
        Imds(self)
        self._app.router.add_post("/", self._serve)

    def is_authorised(self, request: web.Request) -> bool:
        """Check the signature."""
        signed = signed_by(request)
        if signed is None or signed.access_key_id != KEY_ID:
            return False
        body = self._bodies[id(request)]
        return signature_of(request, body, signed, self.key) == signed.signature

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give EC2's own words for a failure."""
        del fault
        if status == 429:
            return refused(503, "RequestLimitExceeded", "Request limit exceeded.")
        codes = {
            401: ("AuthFailure", "AWS was not able to validate the provided access credentials"),
            403: ("UnauthorizedOperation", "You are not authorized to perform this operation."),
            503: ("Unavailable", "The service is unavailable. Please try again shortly."),
        }
        known = codes.get(status, ("InternalError", "An internal error has occurred"))
        return refused(status, *known)

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give EC2's refusals of a create; no capacity is HTTP 500."""
        if fault.kind == "balance":
            return refused(403, "Blocked", "This account is currently blocked.")
        if fault.kind == "offer_gone":
            text = "Your requested instance type is not supported in your requested Zone."
            return refused(400, "Unsupported", text)
        return no_capacity()

    def secrets(self) -> dict[str, str]:
        """Give both halves of the account's key."""
        return {"access_key_id": KEY_ID, "secret_access_key": self.key}

    def interrupt(self, machine_id: str) -> None:
        """Take a spot machine without notice."""
        self.fleet.preempt(machine_id, 0.0, has_signal=False)

    def do(self, machine_id: str, verb: str, *, notice_s: float = 0.0) -> str:
        """Tell of an interruption by metadata alone, as EC2 does; `rebalance` recommends to leave."""
        machine = self.fleet.machines.get(machine_id)
        if machine is not None and verb == "preempt":
            self.fleet.preempt(machine_id, notice_s, has_signal=False)
            return f"preempt {machine_id}"
        if machine is not None and verb == "rebalance":
            machine.spec["rebalance"] = self.clock.now_s()
            return f"rebalance {machine_id}"
        return super().do(machine_id, verb, notice_s=notice_s)

    def machine_environment(self, machine: Machine) -> dict[str, str]:
        """Give where the machine finds its metadata: elsewhere it is the address that all know."""
        return {VARIABLE: metadata_url(self, machine)}

    # Requests ---------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        form = Form(body.decode())
        action = form.get("Action")
        call = CALLS.get(action, action)
        if action == "DescribeInstances" and form.items("InstanceId"):
            call = "get"
        self._bodies[id(request)] = body
        try:
            served = await self._answer(request, call, self._handle)
        finally:
            del self._bodies[id(request)]
        self.requests.append(Seen(call, "POST", f"/?Action={action}", form.text, served.status))
        return served

    async def _handle(self, request: web.Request) -> web.Response:
        form = Form(self._bodies[id(request)].decode())
        signed = signed_by(request)
        region = signed.region if signed else ""
        handlers: dict[str, Callable[[Form, str], web.Response]] = {
            "RunInstances": self._run,
            "TerminateInstances": self._terminate,
            "DescribeInstances": self._instances,
            "DescribeInstanceTypes": self._types,
            "DescribeInstanceTypeOfferings": self._offerings,
            "DescribeSpotPriceHistory": self._spot_history,
            "DescribeImages": self._images,
            "DescribeRegions": self._list_regions,
        }
        handler = handlers.get(form.get("Action"))
        if handler is None:
            return refused(400, "InvalidAction", f"The action {form.get('Action')} is not valid")
        return handler(form, region)

    # What there is ----------------------------------------------------------------------------------

    def _types(self, form: Form, region: str) -> web.Response:
        del region
        rows = [type_row(kind) for kind in TYPES.values() if is_asked(form, kind.name)]
        return paged("DescribeInstanceTypes", "instanceTypeSet", rows, form)

    def _offerings(self, form: Form, region: str) -> web.Response:
        rows: list[Mapping[str, Tree]] = [
            {"instanceType": name, "locationType": "availability-zone", "location": zone}
            for name in TYPES
            for zone in zones_of(name, region)
            if is_asked(form, name)
        ]
        return paged("DescribeInstanceTypeOfferings", "instanceTypeOfferingSet", rows, form)

    def _spot_history(self, form: Form, region: str) -> web.Response:
        asked = form.items("InstanceType")
        rows: list[Mapping[str, Tree]] = [
            {
                "availabilityZone": zone,
                "instanceType": kind.name,
                "productDescription": "Linux/UNIX",
                "spotPrice": f"{self.spot_usd_h(kind, zone):.6f}",
                "timestamp": "2026-11-28T00:00:00.000Z",
            }
            for kind in TYPES.values()
            for zone in zones_of(kind.name, region)
            if not asked or kind.name in asked
        ]
        return paged("DescribeSpotPriceHistory", "spotPriceHistorySet", rows, form)

    def spot_usd_h(self, kind: Type, zone: str) -> float:
        """Give what a spot machine costs now."""
        return self.spot.get((zone, kind.name), spot_usd_h(kind, zone))

    def _images(self, form: Form, region: str) -> web.Response:
        del region
        asked = form.items("ImageId")
        patterns = filters_of(form).get("name", ["*"])
        rows = [
            row
            for row in image_rows()
            if (not asked or row["imageId"] in asked)
            and any(matches(str(row["name"]), pattern) for pattern in patterns)
        ]
        if asked and not rows:
            return refused(
                400, "InvalidAMIID.NotFound", f"The image id '{asked[0]}' does not exist"
            )
        return answer("DescribeImages", {"imagesSet": rows})

    def _list_regions(self, form: Form, region: str) -> web.Response:
        del form, region
        rows = [{"regionName": name} for name in ("us-east-1", "us-east-2", "us-west-2")]
        return answer("DescribeRegions", {"regionInfo": rows})

    # Machines ---------------------------------------------------------------------------------------

    def _run(self, form: Form, region: str) -> web.Response:
        zone = form.get("Placement.AvailabilityZone") or next(iter(zones_of("g", region)), "")
        if broken := limits_broken(form):
            return broken
        token = form.get("ClientToken")
        digest = hashlib.sha256(json.dumps(form.without("ClientToken")).encode()).hexdigest()
        known = self.tokens.get((zone, token))
        if known is not None:
            if known[0] != digest:
                text = "Arguments on this idempotent request are inconsistent"
                return refused(400, "IdempotentParameterMismatch", text)
            return self._ran(self.fleet.machines[known[1]])
        kind = TYPES[form.get("InstanceType")]
        if refusal := self._no_room(form, kind, zone, region):
            return refusal
        if form.get("DryRun") == "true":
            text = "Request would have succeeded, but DryRun flag is set."
            return refused(412, "DryRunOperation", text)
        machine = self._make(form, kind, zone)
        if token:
            self.tokens[(zone, token)] = (digest, machine.id)
        if self.faults.take("create", "late_no_room"):
            self.fleet.vanish(machine.id)
            machine.reason = "no room"
        return self._ran(machine)

    def _no_room(self, form: Form, kind: Type, zone: str, region: str) -> web.Response | None:
        if zone not in zones_of(kind.name, region):
            text = f"Your requested instance type ({kind.name}) is not supported in {zone}."
            return refused(400, "Unsupported", text)
        if self.faults.take("create", "vcpu"):
            text = "You have requested more vCPU capacity than your current vCPU limit allows."
            return refused(400, "VcpuLimitExceeded", text)
        most = form.get("InstanceMarketOptions.SpotOptions.MaxPrice")
        if most and float(most) < self.spot_usd_h(kind, zone):
            return refused(400, "SpotMaxPriceTooLow", "Your Spot request price is too low.")
        return None

    def _make(self, form: Form, kind: Type, zone: str) -> Machine:
        is_spot = form.get("InstanceMarketOptions.MarketType") == "spot"
        tags = {
            tag.get("Key"): tag.get("Value")
            for spec in form.groups("TagSpecification")
            if spec.get("ResourceType") == "instance"
            for tag in spec.groups("Tag")
        }
        demand_usd_h = ON_DEMAND_USD_H.get(kind.name, 1.0)
        return self.fleet.make(
            tags.get(TAG, ""),
            self.spot_usd_h(kind, zone) if is_spot else demand_usd_h,
            stopped_usd_h=0.01,
            off_ends=form.get("InstanceInitiatedShutdownBehavior") == "terminate",
            spec={
                "type": kind.name,
                "zone": zone,
                "image": form.get("ImageId") or AMI,
                "spot": is_spot,
                "tags": tags,
                "token": form.get("ClientToken"),
                "form": form.without(),
            },
            script=user_data_of(form),
        )

    def _ran(self, machine: Machine) -> web.Response:
        members: Mapping[str, Tree] = {
            "reservationId": f"r-{machine.id[2:]}",
            "ownerId": "123456789012",
            "instancesSet": [self._row(machine)],
        }
        return answer("RunInstances", members)

    def _instances(self, form: Form, region: str) -> web.Response:
        asked = form.items("InstanceId")
        if asked and form.get("MaxResults"):
            text = "The parameter instancesSet cannot be used with the parameter maxResults"
            return refused(400, "InvalidParameterCombination", text)
        for instance in asked:
            if refusal := self._unknown(instance, region):
                return refusal
        chosen = [self.fleet.machines[one] for one in asked] if asked else self.fleet.listed()
        wanted = filters_of(form)
        rows: list[Mapping[str, Tree]] = [
            {"reservationId": f"r-{one.id[2:]}", "instancesSet": [self._row(one)]}
            for one in chosen
            if self._region(one) == region and self._passes(one, wanted)
        ]
        if self.faults.take("list", "empty_page"):
            return answer("DescribeInstances", {"reservationSet": [], "nextToken": "0"})
        return paged("DescribeInstances", "reservationSet", rows, form)

    def _unknown(self, instance: str, region: str) -> web.Response | None:
        if not instance.startswith("i-"):
            return refused(400, "InvalidInstanceID.Malformed", f'Invalid id: "{instance}"')
        machine = self.fleet.seen(instance)
        if machine is None or self._region(machine) != region:
            text = f"The instance ID '{instance}' does not exist"
            return refused(400, "InvalidInstanceID.NotFound", text)
        return None

    def _terminate(self, form: Form, region: str) -> web.Response:
        asked = form.items("InstanceId")
        for instance in asked:
            if refusal := self._unknown(instance, region):
                return refusal
        rows: list[Mapping[str, Tree]] = []
        for instance in asked:
            machine = self.fleet.machines[instance]
            before = self._state_row(machine)
            self.fleet.end(instance)
            rows.append(
                {
                    "instanceId": instance,
                    "currentState": self._state_row(machine),
                    "previousState": before,
                }
            )
        return answer("TerminateInstances", {"instancesSet": rows})

    # Rows -------------------------------------------------------------------------------------------

    def _region(self, machine: Machine) -> str:
        return str(machine.spec.get("zone", "us-east-1a"))[:-1]

    def _passes(self, machine: Machine, wanted: Mapping[str, Sequence[str]]) -> bool:
        tags = self._tags(machine)
        for name, patterns in wanted.items():
            if name == "tag-key":
                have = list(tags)
            elif name == "instance-state-name":
                have = [str(self.word(machine, WORDS))]
            else:
                have = [tags[key] for key in [name.removeprefix("tag:")] if key in tags]
            if not any(matches(value, pattern) for value in have for pattern in patterns):
                return False
        return True

    def _tags(self, machine: Machine) -> dict[str, str]:
        tags = machine.spec.get("tags")
        return {**tags, TAG: machine.name} if isinstance(tags, dict) else {}  # pyright: ignore[reportUnknownVariableType]

    def _state_row(self, machine: Machine) -> Mapping[str, Tree]:
        word = str(self.word(machine, WORDS))
        return {"code": CODES.get(word, 99), "name": word}

    def _row(self, machine: Machine) -> Mapping[str, Tree]:
        return row_of(machine, self._state_row(machine), self._tags(machine))
