"""The one RunInstances that makes a machine. Pure."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from vaultlayer.errors import DriverError
from vaultlayer_actors.drivers.aws.reading import Place
from vaultlayer_actors.drivers.aws.wire import Image
from vaultlayer_actors.drivers.cloud.naming import TAG

USER_DATA_B_MAX = 16 * 1024
"""EC2's limit, before base64."""
TOKEN_MAX = 64


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine is made of."""

    name: str
    place: Place
    image: Image
    script: str
    disk_gb: float
    subnet: str = ""
    security_groups: Sequence[str] = ()


def run_instances(plan: Plan) -> dict[str, Any]:
    """Give the parameters; the name is the token, so that a repeated call makes nothing new.

    Raises:
        DriverError: the boot script is larger than EC2 allows.
    """
    if len(plan.script.encode()) > USER_DATA_B_MAX:
        raise DriverError("the boot script is larger than the 16 KB that EC2 allows")
    tags = [{"Key": TAG, "Value": plan.name}, {"Key": "Name", "Value": plan.name}]
    tagged = ["instance", "volume", *(["spot-instances-request"] if plan.place.spot else [])]
    request: dict[str, Any] = {
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": plan.name[:TOKEN_MAX],
        "ImageId": plan.image.image_id,
        "InstanceType": plan.place.kind,
        "Placement": {"AvailabilityZone": plan.place.zone},
        "UserData": plan.script,
        # So that a machine that powers itself off is no longer billed.
        "InstanceInitiatedShutdownBehavior": "terminate",
        # Two hops, so that the metadata also reach a container.
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 2,
            "HttpEndpoint": "enabled",
        },
        "BlockDeviceMappings": [_root(plan)],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in tagged],
    }
    if plan.place.spot:
        request["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            },
        }
    if plan.subnet:
        request["SubnetId"] = plan.subnet
    if plan.security_groups:
        request["SecurityGroupIds"] = list(plan.security_groups)
    return request


def dry_run(image: Image) -> dict[str, Any]:
    """Give the parameters of a create that only asks for the right to it, tags included."""
    plan = Plan(
        name="vaultlayer-check",
        place=Place(zone="", kind="g4dn.xlarge", spot=False),
        image=image,
        script="#!/bin/sh",
        disk_gb=0.0,
    )
    request = {**run_instances(plan), "DryRun": True}
    return {name: request[name] for name in request if name not in {"Placement", "ClientToken"}}


def _root(plan: Plan) -> dict[str, Any]:
    """Give the root disk: no smaller than the image's own, which EC2 would refuse."""
    image = plan.image
    least_gb = max(
        (
            device.ebs.volume_size
            for device in image.block_device_mappings
            if device.ebs is not None and device.device_name == image.root_device_name
        ),
        default=0,
    )
    return {
        "DeviceName": image.root_device_name,
        "Ebs": {
            "VolumeSize": max(math.ceil(plan.disk_gb), least_gb),
            "VolumeType": "gp3",
            "DeleteOnTermination": True,
        },
    }


def newest(images: Sequence[Image]) -> Image | None:
    """Give the newest image; dates are ISO 8601 in UTC, so that text sorts them."""
    return max(images, key=lambda image: (image.creation_date, image.image_id), default=None)
