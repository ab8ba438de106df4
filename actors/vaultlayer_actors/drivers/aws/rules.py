"""What a simulated EC2 refuses before it looks for a machine, and how its listings look."""

import base64
import binascii
import fnmatch
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from aiohttp import web

from vaultlayer_actors.drivers.aws.protocol import Form, Tree, answer, refused
from vaultlayer_actors.drivers.aws.stock import AMI, IMAGE_GIB, TYPES
from vaultlayer_actors.simulator.machine import Machine, State

USER_DATA_B_MAX = 16384
TOKEN_MAX = 64

REASONS = {
    "preempted": ("Server.SpotInstanceTermination", "Spot instance termination"),
    "terminated": ("Client.UserInitiatedShutdown", "User initiated shutdown"),
    "vanished": ("Server.InternalError", "Internal error on launch"),
    "powered off": ("Client.InstanceInitiatedShutdown", "Instance initiated shutdown"),
    "no room": ("Server.InsufficientInstanceCapacity", "Insufficient capacity"),
}


def user_data_of(form: Form) -> str:
    """Give the user data as text."""
    return base64.b64decode(form.get("UserData")).decode()


def limits_broken(form: Form) -> web.Response | None:
    """Refuse a RunInstances that breaks a documented rule."""
    try:
        data = user_data_of(form)
    except (binascii.Error, UnicodeDecodeError):
        return refused(400, "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data")
    options = form.below("InstanceMarketOptions.SpotOptions")
    if len(data.encode()) > USER_DATA_B_MAX:
        return refused(400, "InvalidParameterValue", "User data is limited to 16384 bytes")
    if len(form.get("ClientToken")) > TOKEN_MAX:
        return refused(400, "InvalidParameterValue", "ClientToken is longer than 64 characters")
    if form.get("InstanceType") not in TYPES:
        return refused(400, "InvalidParameterValue", "Invalid value for InstanceType")
    for disk in form.groups("BlockDeviceMapping"):
        if int(disk.get("Ebs.VolumeSize") or IMAGE_GIB) < IMAGE_GIB:
            text = f"Volume is smaller than snapshot, expect size >= {IMAGE_GIB}GB"
            return refused(400, "InvalidBlockDeviceMapping", text)
    if options and options.get("InstanceInterruptionBehavior") not in {"", "terminate"}:
        return refused(400, "InvalidParameterValue", "one-time Spot instances only terminate")
    return None


def no_capacity() -> web.Response:
    """Give the answer where a zone has no machine."""
    text = "We currently do not have sufficient capacity in the Availability Zone you requested."
    return refused(500, "InsufficientInstanceCapacity", text)


def filters_of(form: Form) -> dict[str, list[str]]:
    """Give `Filter.n.Name` → its values."""
    return {one.get("Name"): one.items("Value") for one in form.groups("Filter")}


def matches(text: str, pattern: str) -> bool:
    """Whether a value meets a filter: `*` and `?` stand for others, brackets for themselves."""
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def is_asked(form: Form, kind: str) -> bool:
    """Whether a request names a type, or leaves it open."""
    named = form.items("InstanceType")
    patterns = filters_of(form).get("instance-type", ["*"])
    return (not named or kind in named) and any(matches(kind, one) for one in patterns)


def paged(action: str, name: str, rows: Sequence[Mapping[str, Tree]], form: Form) -> web.Response:
    """Give one page of a listing, and the token of the next one."""
    start = int(form.get("NextToken") or 0)
    most = int(form.get("MaxResults") or 1000)
    more = str(start + most) if start + most < len(rows) else None
    return answer(action, {name: rows[start : start + most], "nextToken": more})


def row_of(
    machine: Machine, state: Mapping[str, Tree], tags: Mapping[str, str]
) -> Mapping[str, Tree]:
    """Give an instance as DescribeInstances does."""
    is_over = machine.state in {State.GONE, State.ENDING, State.STOPPED}
    code, text = REASONS.get(machine.reason or "terminated", REASONS["terminated"])
    made = datetime.fromtimestamp(machine.created_s, UTC)
    return {
        "instanceId": machine.id,
        "imageId": str(machine.spec.get("image", AMI)),
        "instanceState": state,
        "stateReason": {"code": code, "message": text} if is_over else None,
        "clientToken": str(machine.spec.get("token", "")),
        "instanceType": str(machine.spec.get("type", "")),
        "launchTime": made.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "placement": {"availabilityZone": str(machine.spec.get("zone", ""))},
        "instanceLifecycle": "spot" if machine.spec.get("spot") else None,
        "spotInstanceRequestId": "sir-sim00001" if machine.spec.get("spot") else None,
        "privateIpAddress": "10.0.0.4",
        "tagSet": [{"key": key, "value": text} for key, text in tags.items()],
    }
