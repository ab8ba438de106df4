"""Keys to the bucket and sealed secrets: what the vault lends, always sealed to one reader."""

import msgspec

from vaultlayer import messages as ms
from vaultlayer.errors import error_of
from vaultlayer.ids import JobId
from vaultlayer.job import Job
from vaultlayer.ledger import Ledger
from vaultlayer.sealing import seal, unseal
from vaultlayer.store.sts import Minter
from vaultlayer.subjects import parse_agent, parse_job
from vaultlayer_actors.credential_vault import core
from vaultlayer_actors.credential_vault.master import MasterKeys

_NO_ENVIRONMENT = b'{"env":{},"host":{}}'


class Lending:
    """The services of the vault that answer with a sealed secret.

    Args:
        keys: the master keys.
        minter: makes keys to the bucket.
        ledger: what the log says of the asker.
        root: the bucket's root.
    """

    def __init__(self, keys: MasterKeys, minter: Minter, ledger: Ledger, *, root: str) -> None:
        self._keys = keys
        self._minter = minter
        self._ledger = ledger
        self._root = root

    # For people -----------------------------------------------------------------------------------

    async def vault_key(self, _subject: str, _payload: bytes) -> ms.VaultKey:
        """Give the public key to which a job's environment is sealed."""
        return ms.VaultKey(key=self._keys.seal_key)

    async def upload_credential(self, _subject: str, payload: bytes) -> ms.Sealed:
        """Lend a key that writes one new job's code."""
        request = msgspec.json.decode(payload, type=ms.UploadCredentialRequest)
        job = await self._ledger.read(JobId(request.job)) if request.job else None
        if fault := core.upload_fault(job, request.job):
            raise error_of(fault)
        return await self._lend(core.upload_reach(self._root, request.job), request.seal_key)

    async def wheels_credential(self, _subject: str, payload: bytes) -> ms.Sealed:
        """Lend a key that writes the wheels that new machines install."""
        request = msgspec.json.decode(payload, type=ms.WheelsCredentialRequest)
        return await self._lend(core.wheels_reach(self._root), request.seal_key)

    async def read_credential(self, subject: str, payload: bytes) -> ms.Sealed:
        """Lend a key that reads one job."""
        request = msgspec.json.decode(payload, type=ms.ReadCredentialRequest)
        job_id = parse_job(subject)
        if fault := core.read_fault(await self._ledger.read(job_id), job_id):
            raise error_of(fault)
        return await self._lend(core.read_reach(self._root, job_id), request.seal_key)

    # For actors -----------------------------------------------------------------------------------

    async def broker_store(self, _subject: str, payload: bytes) -> ms.Sealed:
        """Lend an actor a key to all jobs."""
        request = msgspec.json.decode(payload, type=ms.BrokerStoreRequest)
        reach = core.broker_reach(self._root, write=request.write)
        return await self._lend(reach, request.seal_key)

    # For agents -----------------------------------------------------------------------------------

    async def secrets(self, subject: str, payload: bytes) -> ms.Sealed:
        """Give the machine of a current attempt the job's environment."""
        job, seal_key, _ = await self._current(subject, payload)
        box = job.spec.env_sealed
        plain = unseal(self._keys.seal, box) if box else _NO_ENVIRONMENT
        return ms.Sealed(box=seal(seal_key, plain))

    async def store_credential(self, subject: str, payload: bytes) -> ms.Sealed:
        """Lend the machine of a current attempt a key that writes its own prefix."""
        job, seal_key, number = await self._current(subject, payload)
        incarnation = job.attempts[number].incarnation
        return await self._lend(
            core.attempt_reach(self._root, job.job, number, incarnation), seal_key
        )

    async def _current(self, subject: str, payload: bytes) -> tuple[Job, str, int]:
        """Give (job, the machine's seal key, attempt) or refuse."""
        job_id, number, _ = parse_agent(subject)
        request = msgspec.json.decode(payload, type=ms.SecretsRequest)
        job = await self._ledger.read(job_id)
        fault = core.current_fault(job, number, request.incarnation)
        if fault is not None or job is None:
            raise error_of(fault or core.no_job(job_id))
        seal_key = job.attempts[number].seal_key
        if not seal_key:
            raise error_of(core.not_enrolled(number))
        return job, seal_key, number

    async def _lend(self, reach: core.Reach, seal_key: str) -> ms.Sealed:
        credential = await self._minter.mint(
            reach.read, reach.write, core.STORE_LIFE_S, may_delete=reach.may_delete
        )
        return ms.Sealed(box=seal(seal_key, msgspec.json.encode(credential)))
