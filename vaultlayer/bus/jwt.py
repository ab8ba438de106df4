"""NATS identities: nkeys, and the signed claims of operator, accounts and users.

An nkey is an Ed25519 key in base32 with a kind byte and a CRC-16; a seed spells the private half and begins
with `S`. A JWT is signed by the key above it: operator over account over user. A *scoped* signing key of an
account carries a template of permissions; whoever it signs gets just those, filled in from the user's tags.
Everything here is pure: noise and time are arguments.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from vaultlayer.errors import DeniedError

JWT_HEADER = b'{"typ":"JWT","alg":"ed25519-nkey"}'
JWT_VERSION = 2
UNLIMITED = -1
_SEED_PREFIX = 18 << 3
_ACCOUNT_LIMITS = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
_JETSTREAM_LIMITS = ("mem_storage", "disk_storage", "streams", "consumer")
_TAG = re.compile(r"[a-z0-9_-]{1,32}:[a-z0-9_-]{1,64}\Z")


class KeyKind(IntEnum):
    """The kind byte of an nkey; the public key begins with the name's first letter."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3


class SubjectList(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Subjects that may, and that may not, be used; empty lists mean no rule."""

    allow: list[str] = []
    deny: list[str] = []


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may do. In a scope, `{{tag(name)}}` is filled in from the user's tags."""

    pub: SubjectList
    sub: SubjectList
    subs: int = UNLIMITED
    data: int = UNLIMITED
    payload: int = UNLIMITED
    """Bytes of one message."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key of an account that can only make users of one shape."""

    key: str
    role: str
    template: Template
    kind: str = "user_scope"


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a JWT says. `nats` is kept as it came, so that fields we do not know survive an amendment."""

    jti: str = ""
    iat: int
    iss: str
    name: str = ""
    sub: str
    exp: int = 0
    nats: dict[str, Any]

    @property
    def revocations(self) -> dict[str, int]:
        """Public user keys and the Unix second up to which their JWTs are void."""
        return dict(self.nats.get("revocations") or {})

    @property
    def tags(self) -> list[str]:
        """The tags of a user, `name:value`."""
        return list(self.nats.get("tags") or [])


# Keys ---------------------------------------------------------------------------------------------


def make_seed(kind: KeyKind, noise: bytes) -> str:
    """Spell 32 random bytes as a private key."""
    assert len(noise) == 32
    head = bytes([_SEED_PREFIX | kind >> 5, (kind & 31) << 3])
    return _spell(head + noise)


def public_key(seed: str) -> str:
    """Give the public key of a seed; raises DeniedError for something that is no seed."""
    kind, signing_key = _open_seed(seed)
    return _spell(bytes([kind]) + bytes(signing_key.verify_key))


def is_public_key(text: str, kind: KeyKind) -> bool:
    """Tell whether `text` is a well-formed public key of this kind."""
    try:
        raw = _unspell(text)
    except ValueError:
        return False
    return len(raw) == 33 and raw[0] == kind


def sign(seed: str, message: bytes) -> bytes:
    """Give the 64 bytes of the signature."""
    return _open_seed(seed)[1].sign(message).signature


def _spell(raw: bytes) -> str:
    checked = raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(checked).rstrip(b"=").decode()


def _unspell(text: str) -> bytes:
    checked = base64.b32decode(text + "=" * (-len(text) % 8))
    raw, crc = checked[:-2], checked[-2:]
    if binascii.crc_hqx(raw, 0).to_bytes(2, "little") != crc:
        raise ValueError("wrong checksum")
    return raw


def _open_seed(seed: str) -> tuple[int, SigningKey]:
    try:
        raw = _unspell(seed)
    except ValueError:
        raw = b""
    if len(raw) != 34 or raw[0] & 248 != _SEED_PREFIX:
        raise DeniedError("a bus key cannot be read", why="it is not the seed of an nkey")
    kind = (raw[0] & 7) << 5 | raw[1] >> 3
    return kind, SigningKey(raw[2:])


# Minting ------------------------------------------------------------------------------------------


def mint_operator(seed: str, *, name: str, system_account: str, now_s: float) -> str:
    """Sign an operator by itself."""
    return _mint(
        seed,
        sub=public_key(seed),
        name=name,
        iat=int(now_s),
        nats={"system_account": system_account, "type": "operator"},
    )


def mint_account(
    operator_seed: str,
    account_key: str,
    *,
    name: str,
    now_s: float,
    scopes: Sequence[Scope] = (),
    jetstream: bool = False,
) -> str:
    """Sign an account without limits.

    Args:
        operator_seed: who signs.
        account_key: the account's public key.
        name: for people.
        now_s: Unix seconds; of two JWTs of one account the server keeps the later.
        scopes: the account's scoped signing keys.
        jetstream: whether it may have streams.
    """
    unlimited = (*_ACCOUNT_LIMITS, *(_JETSTREAM_LIMITS if jetstream else ()))
    nats: dict[str, Any] = {
        "limits": {**dict.fromkeys(unlimited, UNLIMITED), "wildcards": True},
        "signing_keys": [msgspec.to_builtins(scope) for scope in scopes],
        "default_permissions": {"pub": {}, "sub": {}},
        "type": "account",
    }
    return _mint(operator_seed, sub=account_key, name=name, iat=int(now_s), nats=nats)


def amend_account(
    jwt: str,
    operator_seed: str,
    *,
    now_s: float,
    revocations: Mapping[str, int],
    scopes: Sequence[Scope],
) -> str:
    """Sign an account anew with other revocations and scopes; all else stays as it was.

    The time of issue always rises, because a server prefers the later of two and counts in seconds.
    """
    old = read_jwt(jwt)
    nats = {
        **old.nats,
        "signing_keys": [msgspec.to_builtins(scope) for scope in scopes],
        "revocations": dict(sorted(revocations.items())),
    }
    iat = max(int(now_s), old.iat + 1)
    return _mint(operator_seed, sub=old.sub, name=old.name, iat=iat, nats=nats)


def mint_user(
    account_seed: str, user_key: str, *, name: str, template: Template, now_s: float
) -> str:
    """Sign a user with permissions of its own, for good; by the account's own key."""
    body = msgspec.to_builtins(template)
    return _mint(
        account_seed, sub=user_key, name=name, iat=int(now_s), nats={**body, "type": "user"}
    )


def mint_scoped_user(
    scope_seed: str,
    user_key: str,
    *,
    account_key: str,
    name: str,
    tags: Mapping[str, str],
    now_s: float,
    life_s: float,
) -> str:
    """Sign a user by a scoped key: it gets the scope's template and nothing of its own.

    Args:
        scope_seed: seed of the scoped signing key.
        user_key: the user's public key.
        account_key: public key of the account that owns the scope.
        name: for people; shown by the server's monitor.
        tags: what the template is filled in with: lower case, no dots and no wildcards.
        now_s: Unix seconds.
        life_s: seconds until the server refuses it.

    Raises:
        DeniedError: a tag could widen the template.
    """
    spelled = [f"{key}:{value}" for key, value in tags.items()]
    if not all(_TAG.match(tag) for tag in spelled):
        raise DeniedError("a bus user cannot be made", why="a tag is not plain lower case")
    if not is_public_key(user_key, KeyKind.USER):
        raise DeniedError("a bus user cannot be made", why="its key is no public user key")
    nats = {"issuer_account": account_key, "tags": spelled, "type": "user"}
    return _mint(
        scope_seed,
        sub=user_key,
        name=name,
        iat=int(now_s),
        exp=int(now_s + life_s),
        nats=nats,
    )


def _mint(
    seed: str, *, sub: str, name: str, iat: int, nats: Mapping[str, Any], exp: int = 0
) -> str:
    claims = Claims(
        iat=iat,
        iss=public_key(seed),
        name=name,
        sub=sub,
        exp=exp,
        nats={**nats, "version": JWT_VERSION},
    )
    digest = hashlib.sha256(msgspec.json.encode(claims)).digest()
    jti = base64.b32encode(digest).rstrip(b"=").decode()
    body = msgspec.json.encode(msgspec.structs.replace(claims, jti=jti))
    signed = f"{_b64(JWT_HEADER)}.{_b64(body)}"
    return f"{signed}.{_b64(sign(seed, signed.encode()))}"


# Reading ------------------------------------------------------------------------------------------


def read_jwt(jwt: str) -> Claims:
    """Read a JWT and check that its issuer signed it; whether the issuer counts is the caller's question.

    Raises:
        DeniedError: it is no JWT of this kind, or the signature does not hold.
    """
    try:
        head, body, signature = jwt.strip().split(".")
        claims = msgspec.json.decode(_unb64(body), type=Claims)
        VerifyKey(_unspell(claims.iss)[1:]).verify(f"{head}.{body}".encode(), _unb64(signature))
    except (ValueError, TypeError, msgspec.MsgspecError, BadSignatureError) as err:
        raise DeniedError("a bus identity cannot be read", why="its signature is bad") from err
    return claims


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
