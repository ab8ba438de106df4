"""A service account's key file, and how it is traded for a token: a JWT that the key has signed (RFC 7523).

The signature is RS256, which `nacl` has not; `cryptography` is loaded when a token is due and not before, so
that whatever only lists drivers starts without it.
"""

import base64
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import httpx
import msgspec

from vaultlayer.errors import AuthError

SCOPE = "https://www.googleapis.com/auth/compute"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFE_S = 3600
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  an address


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a key file."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    project_id: str = ""
    token_uri: str = TOKEN_URI

    def __repr__(self) -> str:
        """Name the account; never its key."""
        return f"Account({self.client_email!r})"


def read_account(text: str) -> Account:
    """Read a key file.

    Raises:
        AuthError: it is none; the text is not quoted.
    """
    try:
        return msgspec.json.decode(text, type=Account)
    except msgspec.MsgspecError:
        raise _unusable("it is not the JSON file that Google gives out") from None


def token_request(account: Account, now_s: float | None = None) -> httpx.Request:
    """Make the request for a token.

    Args:
        account: whose key signs.
        now_s: seconds since 1970; None: now.

    Raises:
        AuthError: the private key cannot be used.
    """
    data = {"grant_type": GRANT, "assertion": assertion(account, now_s or time.time())}
    return httpx.Request("POST", account.token_uri, data=data)


def assertion(account: Account, now_s: float) -> str:
    """Give the signed JWT."""
    head = {"alg": "RS256", "typ": "JWT", "kid": account.private_key_id}
    claims = {
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": int(now_s),
        "exp": int(now_s) + LIFE_S,
    }
    text = f"{_part(head)}.{_part(claims)}"
    signature = _sign(account.private_key, text.encode())
    return f"{text}.{_base64(signature)}"


def _sign(pem: str, data: bytes) -> bytes:
    primitives: Any = import_module("cryptography.hazmat.primitives")
    serialization: Any = import_module("cryptography.hazmat.primitives.serialization")
    padding: Any = import_module("cryptography.hazmat.primitives.asymmetric.padding")
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
        return key.sign(data, padding.PKCS1v15(), primitives.hashes.SHA256())
    except (ValueError, TypeError, AttributeError):
        raise _unusable("its private key is no RSA key") from None


def _unusable(why: str) -> AuthError:
    return AuthError(
        "the key of gcp is no key of a service account",
        why=why,
        mend="vaultlayer providers key gcp --file KEY.json",
    )


def _part(fields: Mapping[str, object]) -> str:
    return _base64(msgspec.json.encode(fields))


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
