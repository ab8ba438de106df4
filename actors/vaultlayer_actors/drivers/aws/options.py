"""What is true of EC2 as a whole, and what `[providers.aws]` may say."""

from vaultlayer.driver import Manifest
from vaultlayer_actors.drivers.aws.catalogue import EGRESS_USD_GB
from vaultlayer_actors.drivers.cloud.options import CloudOptions

INTERVALS_S = {
    "offers": 0.2,
    "images": 0.2,
    "create": 0.5,
    "list": 0.2,
    "get": 0.1,
    "terminate": 0.2,
    "account": 0.5,
}
"""Far below EC2's buckets (describe 10 a second, RunInstances 2 a second in most accounts)."""

MANIFEST = Manifest(
    name="aws",
    title="AWS EC2",
    can_spot=True,
    notice_s=120.0,
    billing_step_s=1.0,
    boot_s=600.0,
    poll_s=15.0,
    absent_checks=2,
    absent_gap_s=15.0,
    create_s=120.0,
    cooldown_s=30.0,
    needs_keys=True,
    keys={
        "access_key_id": "access key id (IAM user, Security credentials)",
        "secret_access_key": "secret access key",
    },
    work_root="/opt/vaultlayer/workspace",
    drills=["kill"],
    idempotent=True,
    visibility_s=60.0,
    unit="vm",
    unverified=[
        "prices on demand, of disks and of bytes: a table, not an API",
        "how long a listing lags after a create, and how long a ClientToken is remembered",
        "the codes for no capacity beside InsufficientInstanceCapacity",
    ],
)


class AwsOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.aws]` of the configuration file; `image` is an AMI's id or a pattern of its name."""

    image_owner: str = "amazon"
    """Whose images a pattern is looked for among."""
    subnets: dict[str, str] = {}
    """Zone → subnet; a zone that is not named takes the default VPC's."""
    security_groups: dict[str, list[str]] = {}
    """Region → groups; none: the VPC's default. Nothing needs to come in."""
    on_demand_usd_h: dict[str, float] = {}
    """Prices that the driver does not know, or that you pay: by type, or by `region/type`."""
    egress_usd_gb: float = EGRESS_USD_GB
    """0 where the bucket is in the same region."""
