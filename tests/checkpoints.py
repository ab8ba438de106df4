"""Helpers of the tests that move checkpoints through a real S3 server."""

import hashlib
import struct
from pathlib import Path
from typing import Any

import msgspec

from vaultlayer.checkpoint.source import walk
from vaultlayer.checkpoint.upload import Uploaded, upload
from vaultlayer.messages.people import StoreCredential
from vaultlayer.store.s3 import S3Store
from weed import WeedServer

JOB = "j234567892"
MIB = 1024 * 1024


def credential(server: WeedServer) -> StoreCredential:
    """The whole bucket's key."""
    return StoreCredential(
        endpoint=server.endpoint,
        bucket=server.bucket,
        region=server.region,
        root="",
        access_key=server.access_key,
        secret_key=server.secret_key,
    )


def prefix_of(attempt: int) -> str:
    return f"jobs/{JOB}/a{attempt}-abc/"


async def save(
    store: S3Store, top: Path, *, attempt: int = 1, seq: int = 1, **more: Any
) -> Uploaded:
    """Save everything below `top` as root `work`."""
    return await upload(
        store,
        list(walk(top, "work")),
        prefix=prefix_of(attempt),
        job=JOB,
        attempt=attempt,
        incarnation="abc",
        seq=seq,
        **more,
    )


def picture(top: Path) -> dict[str, tuple[object, ...]]:
    """Everything that a restore promises, of every path below `top`."""
    found: dict[str, tuple[object, ...]] = {}
    for one in walk(top, "work"):
        content = (
            hashlib.sha256(one.path.read_bytes()).hexdigest() if one.kind == "file" else one.target
        )
        found[one.name] = (one.kind, one.mode, one.mtime_ns, one.size_b, content)
    return found


def safetensors(tensors: dict[str, bytes]) -> bytes:
    """A safetensors file of byte tensors."""
    header: dict[str, object] = {}
    at = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = msgspec.json.encode(header)
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


async def pack_bytes(store: S3Store, key: str) -> bytearray:
    return bytearray((await store.get(key, most_b=100 * MIB)).data)
