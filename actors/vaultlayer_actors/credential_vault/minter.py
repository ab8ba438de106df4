"""Which minter makes keys to the bucket: by where the bucket is."""

from urllib.parse import urlsplit

import msgspec

from vaultlayer.endpoints import Endpoints
from vaultlayer.errors import BrokerDownError, ConfigError
from vaultlayer.messages import StoreCredential
from vaultlayer.settings import StoreSettings
from vaultlayer.store.r2 import R2Minter
from vaultlayer.store.sts import Bucket, Minter, StsMinter
from vaultlayer.store.weed import ROLE_ARN
from vaultlayer_actors.credential_vault.master import STORE_ACCESS_KEY, STORE_SECRET_KEY, MasterKeys

R2_HOST = ".r2.cloudflarestorage.com"


def make_minter(store: StoreSettings, endpoints: Endpoints | None, keys: MasterKeys) -> Minter:
    """Give the minter of the configured bucket, holding its parent key.

    Args:
        store: the settings; no endpoint means the embedded server.
        endpoints: where the embedded server listens.
        keys: the master keys.

    Raises:
        BrokerDownError: the embedded server was never started here.
        ConfigError: the bucket's parent key is missing, or the endpoint is no address.
    """
    bucket = _parent(store, endpoints, keys)
    if bucket is None:
        raise BrokerDownError("the embedded S3 server was never started", mend="vaultlayer up")
    if not store.endpoint:
        return StsMinter(bucket, ROLE_ARN)
    if not bucket.access_key or not bucket.secret_key:
        raise ConfigError(
            "the vault has no key to the bucket",
            why=f"[store] names {store.endpoint}",
            mend=f"set {STORE_ACCESS_KEY} and {STORE_SECRET_KEY} for the vault's process",
        )
    host = urlsplit(store.endpoint).hostname or ""
    if host.endswith(R2_HOST):
        return R2Minter(bucket, host.partition(".")[0])
    return StsMinter(bucket, store.role_arn, store.sts_endpoint)


def master_credential(
    store: StoreSettings, endpoints: Endpoints | None, keys: MasterKeys
) -> StoreCredential | None:
    """Give the parent key in the form that opens the bucket; None where there is no bucket yet."""
    bucket = _parent(store, endpoints, keys)
    return StoreCredential(**msgspec.structs.asdict(bucket)) if bucket else None


def _parent(store: StoreSettings, endpoints: Endpoints | None, keys: MasterKeys) -> Bucket | None:
    """Give the bucket with its parent key: the configured one, else the embedded server's."""
    if store.endpoint:
        url, access_key, secret_key = store.endpoint, keys.store_access_key, keys.store_secret_key
    elif endpoints is not None:
        url, access_key, secret_key = endpoints.s3_url, keys.s3_access_key, keys.s3_secret_key
    else:
        return None
    return Bucket(
        endpoint=url,
        bucket=store.bucket,
        region=store.region,
        root=store.root,
        access_key=access_key,
        secret_key=secret_key,
    )
