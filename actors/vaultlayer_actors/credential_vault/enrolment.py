"""Bus identities of machines: enrol-only credentials, enrolment, renewal, revocation."""

import secrets
from collections.abc import Callable, Sequence

import msgspec

from vaultlayer import messages as ms
from vaultlayer.bus.jwt import KeyKind, is_public_key, make_seed, mint_scoped_user, public_key
from vaultlayer.bus.permissions import attempt_tags
from vaultlayer.errors import InputError, error_of
from vaultlayer.ids import Attempt, JobId
from vaultlayer.ledger import Ledger
from vaultlayer.logging import get_logger
from vaultlayer.sealing import is_seal_key
from vaultlayer.subjects import parse_agent
from vaultlayer_actors.credential_vault import core
from vaultlayer_actors.credential_vault.accounts import Accounts
from vaultlayer_actors.credential_vault.master import MasterKeys
from vaultlayer_actors.credential_vault.wheels import Wheels

REVOKE_MAX = 1000
"""Users in one request."""


class Enrolments:
    """The services of the vault that make and unmake bus users.

    Args:
        keys: the master keys.
        ledger: where the first key of an attempt is written down.
        accounts: through which users are revoked.
        bus_urls: how machines reach the bus.
        wheels: what new machines install the agent from.
        now_s: Unix seconds.
    """

    def __init__(
        self,
        keys: MasterKeys,
        ledger: Ledger,
        accounts: Accounts,
        *,
        bus_urls: Sequence[str],
        wheels: Wheels,
        now_s: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._ledger = ledger
        self._accounts = accounts
        self._bus_urls = list(bus_urls)
        self._wheels = wheels
        self._now_s = now_s
        self._logger = get_logger(actor="credential_vault")

    async def enrol_credential(self, _subject: str, payload: bytes) -> ms.EnrolCredential:
        """Make something that lets one machine enrol for a live attempt, for minutes."""
        request = msgspec.json.decode(payload, type=ms.EnrolCredentialRequest)
        job_id, number = JobId(request.job), Attempt(request.attempt)
        if fault := core.enrol_credential_fault(await self._ledger.read(job_id), number):
            raise error_of(fault)
        seed = make_seed(KeyKind.USER, secrets.token_bytes(32))
        jwt = self._mint(
            self._keys.enrol_scope, public_key(seed), job_id, number, core.ENROL_LIFE_S
        )
        return ms.EnrolCredential(
            user_jwt=jwt,
            seed=seed,
            bus_urls=self._bus_urls,
            wheels_url=await self._wheels.url(),
        )

    async def enrol(self, subject: str, payload: bytes) -> ms.Enrolment:
        """Write down the first machine's keys in the job's log and give it its own credential."""
        job_id, number, request = _enrol_of(subject, payload)
        appended = await self._ledger.append(
            job_id,
            lambda job: core.enrol_decision(job, number, request),
            core.enrol_cmd(number, request),
        )
        if fault := appended.refused or core.enrolled_fault(appended.job, number, request):
            self._logger.warning("enrol_refused", job=job_id, attempt=number, code=fault.code)
            raise error_of(fault)
        self._logger.info("attempt_enrolled", job=job_id, attempt=number)
        return self._enrolment(job_id, number, request)

    async def renew(self, subject: str, payload: bytes) -> ms.Enrolment:
        """Give the machine of a current attempt a fresh credential for the keys that it enrolled with."""
        job_id, number, request = _enrol_of(subject, payload)
        job = await self._ledger.read(job_id)
        if fault := core.enrolled_fault(job, number, request):
            raise error_of(fault)
        return self._enrolment(job_id, number, request)

    async def revoke(self, _subject: str, payload: bytes) -> ms.Done:
        """Disconnect bus users and refuse them from now on."""
        request = msgspec.json.decode(payload, type=ms.RevokeRequest)
        good = all(is_public_key(key, KeyKind.USER) for key in request.user_keys)
        if not good or len(request.user_keys) > REVOKE_MAX:
            raise InputError(
                "bus users cannot be revoked", why="a name is no public user key, or too many"
            )
        if request.user_keys:
            await self._accounts.revoke(request.user_keys, self._now_s())
            self._logger.info("users_revoked", count=len(request.user_keys))
        return ms.Done()

    def _enrolment(self, job_id: JobId, number: Attempt, request: ms.Enrol) -> ms.Enrolment:
        jwt = self._mint(
            self._keys.agent_scope, request.user_key, job_id, number, core.AGENT_LIFE_S
        )
        return ms.Enrolment(user_jwt=jwt, bus_urls=self._bus_urls)

    def _mint(
        self, scope_seed: str, user_key: str, job_id: JobId, number: Attempt, life_s: float
    ) -> str:
        return mint_scoped_user(
            scope_seed,
            user_key,
            account_key=self._keys.account_key,
            name=f"{job_id}.{number}",
            tags=attempt_tags(job_id, number),
            now_s=self._now_s(),
            life_s=life_s,
        )


def _enrol_of(subject: str, payload: bytes) -> tuple[JobId, Attempt, ms.Enrol]:
    job_id, number, _ = parse_agent(subject)
    request = msgspec.json.decode(payload, type=ms.Enrol)
    if not is_public_key(request.user_key, KeyKind.USER) or not is_seal_key(request.seal_key):
        raise InputError(f"attempt {number} may not enrol", why="what it shows are no public keys")
    return job_id, number, request
