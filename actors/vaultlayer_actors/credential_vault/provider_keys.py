"""API keys of providers: kept sealed, given to their own pool, shown to nobody."""

import msgspec
from anyio import to_thread

from vaultlayer import messages as ms
from vaultlayer import subjects
from vaultlayer.bus.protocol import Bus
from vaultlayer.errors import InputError
from vaultlayer.sealing import seal, unseal
from vaultlayer_actors.credential_vault.core import key_fault
from vaultlayer_actors.credential_vault.keys import KeyStore


class ProviderKeys:
    """The vault's services around providers' API keys.

    Every request reads the sealed file anew, because another vault may have written it since.

    Args:
        store: the sealed keys.
        bus: on which pools are told of a new key.
    """

    def __init__(self, store: KeyStore, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def put(self, _subject: str, payload: bytes) -> ms.Done:
        """Keep what a person handed over, and let the provider's pools fetch it."""
        request = msgspec.json.decode(payload, type=ms.ProviderKey)
        keys = await to_thread.run_sync(self._store.open)
        try:
            plain = unseal(keys.seal, request.box)
            values = msgspec.json.decode(plain, type=ms.ProviderSecrets).values
        except msgspec.MsgspecError:
            # Its text may quote a key, so it is neither kept nor chained.
            raise InputError(
                "the keys cannot be read", why="they are no names with texts"
            ) from None
        if fault := key_fault(request.provider, values):
            raise InputError("the keys cannot be kept", why=fault)
        await to_thread.run_sync(self._store.add_provider, request.provider, values)
        await self._bus.publish(subjects.pool(request.provider, "rekeyed"), ms.Done())
        return ms.Done()

    async def fields(self, _subject: str, _payload: bytes) -> ms.ProviderKeysReply:
        """Tell which fields are held, never a value."""
        keys = await to_thread.run_sync(self._store.open)
        held = {name: sorted(values) for name, values in keys.providers.items() if values}
        return ms.ProviderKeysReply(fields=held)

    async def secrets(self, _subject: str, payload: bytes) -> ms.Sealed:
        """Give a pool its own provider's API keys."""
        request = msgspec.json.decode(payload, type=ms.ProviderSecretsRequest)
        keys = await to_thread.run_sync(self._store.open)
        values = keys.providers.get(request.provider, {})
        plain = msgspec.json.encode(ms.ProviderSecrets(values=values))
        return ms.Sealed(box=seal(request.seal_key, plain))
