"""Revocation: which bus users are refused, and the account JWT that tells the server.

The truth is a register under compare-and-swap. The server takes a whole account JWT and keeps the last one
that it is given, so two vaults could undo one another. Therefore whoever pushed looks again at the register
and at what the server holds, and pushes again until both agree: the last push is always followed by such a
look.
"""

import msgspec

from vaultlayer import subjects
from vaultlayer.bus.jwt import Claims, Scope, amend_account, read_jwt
from vaultlayer.bus.nats import NatsBus
from vaultlayer.bus.protocol import AppendConflictError
from vaultlayer.bus.register import Register
from vaultlayer.errors import BrokerError, BusTimeoutError
from vaultlayer_actors.credential_vault import core
from vaultlayer_actors.credential_vault.master import MasterKeys, scopes

TRIES_MAX = 20
"""Conflicts with other vaults that one revocation bears; each means that the other got on."""

_KEYS = msgspec.json.Decoder(dict[str, int])


class _Outcome(msgspec.Struct, frozen=True):
    code: int = 0
    description: str = ""


class _Update(msgspec.Struct, frozen=True):
    """The server's answer to new claims."""

    data: _Outcome | None = None
    error: _Outcome | None = None


class Accounts:
    """Our account on the server.

    Args:
        bus: a broker connection, for the register.
        system: a connection to the server's own account.
        keys: the master keys.
    """

    def __init__(self, bus: NatsBus, system: NatsBus, keys: MasterKeys) -> None:
        self._register = Register(
            bus.connection,
            stream=subjects.REVOCATION_STREAM,
            subject=subjects.REVOCATIONS,
        )
        self._system = system
        self._keys = keys
        self._scopes = scopes(keys)

    async def ensure(self) -> None:
        """Make the register unless it is there."""
        await self._register.ensure()

    async def revoke(self, user_keys: list[str], now_s: float) -> None:
        """Refuse these users from now on and disconnect them; holds when it returns.

        Raises:
            BusTimeoutError: it may not hold yet; the same call may be made again.
        """
        for _ in range(TRIES_MAX):
            known = await self._register.read()
            wanted = core.revoked(_keys_in(known.value), user_keys, now_s)
            if wanted is None:
                break
            try:
                await self._register.write(msgspec.json.encode(wanted), after=known.seq)
            except AppendConflictError:
                continue
            break
        else:
            raise _contended()
        await self.settle(now_s)

    async def settle(self, now_s: float) -> bool:
        """Make the server hold what the register says; tells whether it had to be told.

        Raises:
            BusTimeoutError: other vaults pushed all the time, or the server did not answer.
        """
        for tries in range(TRIES_MAX):
            wanted = _keys_in((await self._register.read()).value)
            jwt, claims = await self._claims()
            if core.holds(claims.revocations, wanted) and _has(claims, self._scopes):
                return tries > 0
            await self._push(
                amend_account(
                    jwt,
                    self._keys.operator,
                    now_s=now_s,
                    revocations=wanted,
                    scopes=self._scopes,
                )
            )
        raise _contended()

    async def _claims(self) -> tuple[str, Claims]:
        raw = await self._system.request_bytes(subjects.account_claims(self._keys.account_key), b"")
        jwt = raw.decode()
        return jwt, read_jwt(jwt)

    async def _push(self, jwt: str) -> None:
        raw = await self._system.request_bytes(subjects.UPDATE_CLAIMS, jwt.encode())
        answer = msgspec.json.decode(raw, type=_Update)
        if answer.error is not None:
            raise BrokerError("the bus refuses our account", why=answer.error.description)


def _keys_in(value: bytes) -> dict[str, int]:
    return _KEYS.decode(value) if value else {}


def _has(claims: Claims, wanted: list[Scope]) -> bool:
    return claims.nats.get("signing_keys") == [msgspec.to_builtins(scope) for scope in wanted]


def _contended() -> BusTimeoutError:
    return BusTimeoutError(
        "bus users may not be revoked yet",
        why=f"other vaults changed the account {TRIES_MAX} times meanwhile",
        retryable=True,
    )
