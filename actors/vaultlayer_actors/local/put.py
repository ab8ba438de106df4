"""Keys that a person hands over: into the sealed store of this home, and nowhere else."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from vaultlayer.errors import InputError
from vaultlayer.settings import Home
from vaultlayer_actors.credential_vault.core import key_fault
from vaultlayer_actors.credential_vault.keys import KeyStore
from vaultlayer_actors.local.identity import ensure_identity
from vaultlayer_actors.local.lock import broker_lock


def put_provider_keys(*, home: Home, provider: str, values: Mapping[str, str]) -> None:
    """Keep one provider's API keys while no broker runs; without values, take them away.

    Raises:
        BrokerRunningError: a broker owns this home: give the keys to it instead.
        InputError: a name or a value cannot be kept.
        SealError: the sealed store is there and does not open.
    """
    if fault := key_fault(provider, values):
        raise InputError("the keys cannot be kept", why=fault)
    with _store(home) as store:
        store.add_provider(provider, values)


def read_provider_fields(*, home: Home) -> dict[str, list[str]]:
    """Give the fields that are held of each provider, never a value."""
    store = KeyStore(home.keys)
    if not store.path.exists():
        return {}
    return {name: sorted(values) for name, values in store.open().providers.items() if values}


def put_store_keys(*, home: Home, store_access_key: str, store_secret_key: str) -> None:
    """Keep the parent key of a bucket of one's own; a running broker takes it up when it starts again.

    Raises:
        BrokerRunningError: a broker owns this home: stop it first, it holds the keys open.
        SealError: the sealed store is there and does not open.
    """
    with _store(home) as store:
        store.set_store(store_access_key, store_secret_key)


@contextmanager
def _store(home: Home) -> Generator[KeyStore]:
    """Open the sealed store for as long as no broker runs on this home."""
    home.run.mkdir(parents=True, exist_ok=True)
    with broker_lock(home.run):
        ensure_identity(home, now_s=time.time())
        yield KeyStore(home.keys)
