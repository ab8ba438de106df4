"""The wheels of the agent in the user's own bucket: a new machine gets a URL that reads one archive."""

from collections.abc import Callable

from vaultlayer import __version__
from vaultlayer.errors import StoreError, StoreMissingError
from vaultlayer.logging import get_logger
from vaultlayer.messages import StoreCredential
from vaultlayer.store.s3 import S3Store
from vaultlayer_actors.credential_vault import core

LOOK_S = 60.0
"""How long an answer of the bucket is believed: a machine is never made more than this too early."""

ANSWER_S = 3.0


class Wheels:
    """Signs with the bucket's parent key, which stays here.

    Args:
        credential: the parent key; None where there is no bucket.
        root: the bucket's root.
        mono_s: a steady clock.
    """

    def __init__(
        self, credential: StoreCredential | None, *, root: str, mono_s: Callable[[], float]
    ) -> None:
        self._store = S3Store(credential, tries=1, answer_s=ANSWER_S) if credential else None
        self._key = core.wheels_key(root, __version__)
        self._mono_s = mono_s
        self._looked_s: float | None = None
        self._is_there = False

    async def url(self) -> str:
        """Give a URL of this version's archive; empty when there is none, or nobody can tell."""
        if self._store is None or not await self._look(self._store):
            return ""
        return await self._store.sign_get(self._key, core.WHEELS_URL_LIFE_S)

    async def _look(self, store: S3Store) -> bool:
        now_s = self._mono_s()
        if self._looked_s is None or now_s - self._looked_s >= LOOK_S:
            self._is_there = await self._head(store)
            self._looked_s = now_s
        return self._is_there

    async def _head(self, store: S3Store) -> bool:
        try:
            await store.head(self._key)
        except StoreMissingError:
            return False
        except StoreError as error:
            # A machine that takes its agent from the package index is better than none.
            get_logger(actor="credential_vault").warning("wheels_unknown", code=error.code)
            return False
        return True
