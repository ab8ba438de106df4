"""Helpers of the tests of the store: prefixes of two attempts and a stranger, keys, a foreign client."""

from collections.abc import Awaitable
from typing import Any

import aioboto3
import msgspec
import pytest

from vaultlayer.errors import (
    StoreDeniedError,
)
from vaultlayer.messages.people import StoreCredential
from vaultlayer.store.s3 import S3Store
from vaultlayer.store.sts import Bucket, StsMinter
from weed import WeedServer

JOB = "jobs/j234567892/"
ONE, TWO = f"{JOB}a1-aaaaaaaa/", f"{JOB}a2-bbbbbbbb/"
OTHER = "jobs/j999999999/"


def admin_credential(server: WeedServer, **changes: Any) -> StoreCredential:
    credential = StoreCredential(
        endpoint=server.endpoint,
        bucket=server.bucket,
        region=server.region,
        root="",
        access_key=server.access_key,
        secret_key=server.secret_key,
    )
    return msgspec.structs.replace(credential, **changes)


def minter(server: WeedServer, **changes: Any) -> StsMinter:
    bucket = Bucket(
        endpoint=server.endpoint,
        bucket=server.bucket,
        region=server.region,
        root="",
        access_key=server.access_key,
        secret_key=server.secret_key,
    )
    return StsMinter(msgspec.structs.replace(bucket, **changes), server.role_arn)


async def denied(call: Awaitable[object]) -> None:
    with pytest.raises(StoreDeniedError):
        await call


async def keys(store: S3Store, prefix: str) -> set[str]:
    return {found.key async for found in store.list(prefix)}


def client(server: WeedServer, service: str, credential: StoreCredential) -> Any:
    """Give a foreign client, that sends what ours would refuse to send."""
    session: Any = aioboto3.Session()
    return session.client(
        service,
        endpoint_url=server.endpoint,
        region_name=server.region,
        aws_access_key_id=credential.access_key,
        aws_secret_access_key=credential.secret_key,
        aws_session_token=credential.session_token,
    )
