"""How the embedded S3 server (`weed mini` of SeaweedFS 4.48) is started: arguments, files, ports.

Pure values only; whoever starts the process writes the files, and ends it by its pid.
"""

import base64
from pathlib import Path

import msgspec

ROLE_ARN = "arn:aws:iam::role/VaultLayer"
"""The role whose session policy a minter narrows for each attempt."""

INNER_PORTS = 8
"""Ports from the base on that must be free, and `base + ADMIN_GRPC_OFFSET`."""

ADMIN_GRPC_OFFSET = 10_007
"""The maintenance worker dials the admin port plus 10000, whatever `-admin.port.grpc` says."""

_ADMIN = "admin"


class WeedPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Every port the server listens on, all on loopback."""

    s3: int
    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    s3_grpc: int
    admin: int
    admin_grpc: int

    @property
    def every(self) -> tuple[int, ...]:
        """All of them, to be looked at before the start."""
        return msgspec.structs.astuple(self)


def weed_ports(s3_port: int, base: int) -> WeedPorts:
    """Give the ports for an S3 port and the first of the inner ports (`Endpoints.weed_base_port`).

    `base` should lie below 22,000, so that no port falls in the range of outgoing connections.
    """
    return WeedPorts(
        s3=s3_port,
        master=base,
        master_grpc=base + 1,
        volume=base + 2,
        volume_grpc=base + 3,
        filer=base + 4,
        filer_grpc=base + 5,
        s3_grpc=base + 6,
        admin=base + 7,
        admin_grpc=base + ADMIN_GRPC_OFFSET,
    )


def weed_arguments(data: Path, config: Path, ports: WeedPorts, *, bucket: str) -> list[str]:
    """Give the arguments after the program's name.

    `data` must exist; `config` holds the files of `weed_config_files`. The process must be started without
    any `AWS_*` or `S3_*` variable: it would make identities and buckets of them.
    """
    flags = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "bucket": bucket,
        "master.telemetry": "false",
        "admin.ui": "false",
        "webdav": "false",
        "s3.autoCreateBucket": "false",
        "s3.allowDeleteBucketNotEmpty": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.port": ports.s3,
        "s3.port.grpc": ports.s3_grpc,
        "s3.config": config / "s3.json",
        "s3.iam.config": config / "iam.json",
        "master.port": ports.master,
        "master.port.grpc": ports.master_grpc,
        "volume.port": ports.volume,
        "volume.port.grpc": ports.volume_grpc,
        "filer.port": ports.filer,
        "filer.port.grpc": ports.filer_grpc,
        "admin.port": ports.admin,
        "admin.port.grpc": ports.admin_grpc,
    }
    return ["mini", *(f"-{name}={value}" for name, value in flags.items())]


def weed_config_files(
    *, access_key: str, secret_key: str, signing_key: bytes, bucket: str
) -> dict[str, bytes]:
    """Give the files of the configuration directory by name; write them with mode 0600.

    Args:
        access_key: the one identity's key; it alone may assume the role.
        secret_key: its secret.
        signing_key: at least 32 random bytes, kept over restarts, which sign session tokens.
        bucket: what the role may reach at most.
    """
    assert len(signing_key) >= 32
    identity = {
        "name": _ADMIN,
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    iam = {
        "sts": {
            "tokenDuration": "15m",
            "maxSessionLength": "12h",
            "issuer": "vaultlayer",
            "signingKey": base64.b64encode(signing_key).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": "VaultLayerBucket", "document": _bucket_policy(bucket)}],
        "roles": [
            {
                "roleName": ROLE_ARN.rpartition("/")[2],
                "roleArn": ROLE_ARN,
                "trustPolicy": _trust_policy(),
                "attachedPolicies": ["VaultLayerBucket"],
            }
        ],
    }
    return {
        "s3.json": msgspec.json.encode({"identities": [identity]}),
        "iam.json": msgspec.json.encode(iam),
    }


def weed_sockets(ports: WeedPorts) -> list[Path]:
    """Give the unix sockets that the server leaves in /tmp; remove them after its end."""
    kinds = {
        "s3": ports.s3,
        "filer": ports.filer,
        "s3-grpc": ports.s3_grpc,
        "filer-grpc": ports.filer_grpc,
        "master-grpc": ports.master_grpc,
        "volume-grpc": ports.volume_grpc,
        "admin-grpc": ports.admin_grpc,
    }
    place = Path("/tmp")  # noqa: S108  the server's own fixed place
    return [place / f"seaweedfs-{kind}-{port}.sock" for kind, port in kinds.items()]


def _bucket_policy(bucket: str) -> dict[str, object]:
    arn = f"arn:aws:s3:::{bucket}"
    allow = {"Effect": "Allow", "Action": ["s3:*"], "Resource": [arn, f"{arn}/*"]}
    return {"Version": "2012-10-17", "Statement": [allow]}


def _trust_policy() -> dict[str, object]:
    # With "*" here a scoped session could assume the role again without a policy, and reach the whole bucket.
    allow = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::000000000000:user/{_ADMIN}"},
        "Action": ["sts:AssumeRole"],
    }
    return {"Version": "2012-10-17", "Statement": [allow]}
