"""The master keys as one value, and what follows from them without any I/O."""

from collections.abc import Mapping

import msgspec

from vaultlayer.bus.credential import BusCredential
from vaultlayer.bus.jwt import (
    KeyKind,
    Scope,
    Template,
    make_seed,
    mint_account,
    mint_operator,
    mint_user,
    public_key,
)
from vaultlayer.bus.permissions import AGENT, BROKER, CLI, ENROL, SYSTEM
from vaultlayer.ids import token
from vaultlayer.sealing import public_of

NOISE_B = 512
"""Random bytes that `make_keys` needs."""

STORE_ACCESS_KEY = "VAULTLAYER_STORE_ACCESS_KEY"
STORE_SECRET_KEY = "VAULTLAYER_STORE_SECRET_KEY"  # noqa: S105  the name of a variable
PROVIDER_PREFIX = "VAULTLAYER_PROVIDER_"


class MasterKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Everything from which lesser keys are made. Never leaves the vault; never printed."""

    made_at: float
    """Unix seconds; the time of issue of all that is signed once."""
    operator: str
    system_account: str
    account: str
    agent_scope: str
    enrol_scope: str
    system_user: str
    broker_user: str
    cli_user: str
    seal: bytes
    """X25519: people seal the job's environment to its public half."""
    s3_access_key: str
    """The one identity of the embedded S3 server."""
    s3_secret_key: str
    s3_signing_key: bytes
    """Signs the embedded server's session tokens."""
    store_access_key: str = ""
    """Parent key of a bucket elsewhere."""
    store_secret_key: str = ""
    providers: dict[str, dict[str, str]] = {}
    """API keys by provider."""

    def __repr__(self) -> str:
        """Say nothing: a value of this type may end up in a traceback."""
        return "MasterKeys(…)"

    __str__ = __repr__

    @property
    def seal_key(self) -> str:
        """The public half of `seal`, base64."""
        return public_of(self.seal)

    @property
    def account_key(self) -> str:
        """The account of all our processes and agents."""
        return public_key(self.account)

    @property
    def system_key(self) -> str:
        """The server's own account, through which accounts are changed."""
        return public_key(self.system_account)


def make_keys(noise: bytes, now_s: float) -> MasterKeys:
    """Make all keys of a new installation from `NOISE_B` random bytes."""
    assert len(noise) >= NOISE_B
    part = [noise[at : at + 32] for at in range(0, NOISE_B, 32)]
    return MasterKeys(
        made_at=now_s,
        operator=make_seed(KeyKind.OPERATOR, part[0]),
        system_account=make_seed(KeyKind.ACCOUNT, part[1]),
        account=make_seed(KeyKind.ACCOUNT, part[2]),
        agent_scope=make_seed(KeyKind.ACCOUNT, part[3]),
        enrol_scope=make_seed(KeyKind.ACCOUNT, part[4]),
        system_user=make_seed(KeyKind.USER, part[5]),
        broker_user=make_seed(KeyKind.USER, part[6]),
        cli_user=make_seed(KeyKind.USER, part[7]),
        seal=part[8],
        s3_access_key="VL" + token(part[9], 18).upper(),
        s3_secret_key=token(part[10] + part[11], 40),
        s3_signing_key=part[12],
    )


def scopes(keys: MasterKeys) -> list[Scope]:
    """Give the scoped signing keys of our account, with the templates of this version."""
    return [
        Scope(key=public_key(keys.agent_scope), role="agent", template=AGENT),
        Scope(key=public_key(keys.enrol_scope), role="enrol", template=ENROL),
    ]


def operator_jwt(keys: MasterKeys) -> str:
    """Give the operator's JWT, which the server's configuration names."""
    return mint_operator(
        keys.operator, name="vaultlayer", system_account=keys.system_key, now_s=keys.made_at
    )


def account_jwts(keys: MasterKeys) -> dict[str, str]:
    """Give the first JWT of each account by its public key; the same bytes each time.

    A server that holds a later one, with revocations, keeps that.
    """
    return {
        keys.system_key: mint_account(
            keys.operator, keys.system_key, name="SYS", now_s=keys.made_at
        ),
        keys.account_key: mint_account(
            keys.operator,
            keys.account_key,
            name="VL",
            now_s=keys.made_at,
            scopes=scopes(keys),
            jetstream=True,
        ),
    }


def credentials(keys: MasterKeys) -> dict[str, BusCredential]:
    """Give the credentials of this machine's own processes by file name; the same bytes each time."""
    own: dict[str, tuple[str, str, Template]] = {
        "broker": (keys.account, keys.broker_user, BROKER),
        "cli": (keys.account, keys.cli_user, CLI),
        "sys": (keys.system_account, keys.system_user, SYSTEM),
    }
    return {
        name: BusCredential(
            mint_user(signer, public_key(seed), name=name, template=template, now_s=keys.made_at),
            seed,
        )
        for name, (signer, seed, template) in own.items()
    }


def overlaid(keys: MasterKeys, environ: Mapping[str, str]) -> MasterKeys:
    """Take in keys that the vault's own environment gives; they win over stored ones.

    `VAULTLAYER_STORE_ACCESS_KEY`, `VAULTLAYER_STORE_SECRET_KEY` and
    `VAULTLAYER_PROVIDER_<NAME>_<FIELD>` (one underscore each, so a name has none).
    """
    providers = {name: dict(values) for name, values in keys.providers.items()}
    for variable, value in environ.items():
        name, _, field = variable.removeprefix(PROVIDER_PREFIX).lower().partition("_")
        if variable.startswith(PROVIDER_PREFIX) and name and field:
            providers.setdefault(name, {})[field] = value
    return msgspec.structs.replace(
        keys,
        providers=providers,
        store_access_key=environ.get(STORE_ACCESS_KEY, keys.store_access_key),
        store_secret_key=environ.get(STORE_SECRET_KEY, keys.store_secret_key),
    )
