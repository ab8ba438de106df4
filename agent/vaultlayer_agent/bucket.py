"""The bucket as this attempt may use it: a credential for minutes, renewed at half its life."""

import msgspec
from anyio import sleep

from vaultlayer import sealing
from vaultlayer.errors import StoreError, VaultLayerError
from vaultlayer.ids import Attempt, Incarnation, JobId, job_prefix, prefix_of
from vaultlayer.logging import get_logger
from vaultlayer.messages import Sealed, SecretsRequest, StoreCredential
from vaultlayer.store.s3 import S3Store, open_store
from vaultlayer_agent.link import Link

RENEW_AGAIN_S = 10.0


class Bucket:
    """An open store with its renewal."""

    def __init__(self, link: Link, *, seal_private: bytes, job: str, attempt: int) -> None:
        self._link = link
        self._seal_private = seal_private
        self._job = JobId(job)
        self._attempt = Attempt(attempt)
        self._store: S3Store | None = None
        self._life_s = 0.0

    @property
    def store(self) -> S3Store:
        """The open store."""
        assert self._store is not None, "opened before use"
        return self._store

    @property
    def job_prefix(self) -> str:
        """Key prefix of the job, which may be read."""
        return job_prefix(self.store.credential.root, self._job)

    @property
    def own_prefix(self) -> str:
        """Key prefix of this attempt, the only one that may be written."""
        root = self.store.credential.root
        incarnation = Incarnation(self._link.incarnation)
        return prefix_of(root, self._job, self._attempt, incarnation)

    async def open(self) -> None:
        """Get the first credential, however long that takes."""
        await self.renew()

    async def renew(self) -> None:
        """Get a new credential and use it from now on."""
        request = SecretsRequest(incarnation=self._link.incarnation)
        sealed = await self._link.ask("store_credential", request, Sealed)
        plain = sealing.unseal(self._seal_private, sealed.box)
        credential = msgspec.json.decode(plain, type=StoreCredential)
        self._life_s = credential.expires_in_s
        if self._store is None:
            self._store = open_store(credential)
        else:
            self._store.refresh(credential)

    async def keep_fresh(self) -> None:
        """Renew at half of each credential's life, until cancelled."""
        while True:
            await sleep(max(1.0, self._life_s / 2))
            try:
                await self.renew()
            except VaultLayerError as error:
                get_logger().warning("store_credential_not_renewed", code=error.code)
                await sleep(RENEW_AGAIN_S)

    async def after_refusal(self, error: StoreError) -> None:
        """Take a refused key for an expired one: get another before the next try."""
        get_logger().info("store_credential_refused", code=error.code)
        await self.renew()
