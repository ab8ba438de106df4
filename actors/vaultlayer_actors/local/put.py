"""Keys that a person hands over: into the sealed store of this home, and nowhere else."""

import time

from vaultlayer.settings import Home
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.local.identity import ensure_identity
from vaultlayer_actors.local.lock import broker_lock


def put_store_keys(*, home: Home, store_access_key: str, store_secret_key: str) -> None:
    """Keep the parent key of a bucket of one's own; a running broker takes it up when it starts again.

    Raises:
        BrokerRunningError: a broker owns this home: stop it first, it holds the keys open.
        SealError: the sealed store is there and does not open.
    """
    home.run.mkdir(parents=True, exist_ok=True)
    with broker_lock(home.run):
        ensure_identity(home, now_s=time.time())
        KeyStore(home.keys).set_store(store_access_key, store_secret_key)
