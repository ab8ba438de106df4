"""Service accounts of a simulated Google: key files, and the endpoint that trades signed JWTs for tokens."""

import base64
import time
from functools import cache
from importlib import import_module
from typing import Any

import msgspec

from vaultlayer_actors.drivers.gcp.account import GRANT, LIFE_S, SCOPE, TOKEN_URI

EMAIL = "vaultlayer@sim-project.iam.gserviceaccount.com"
PROJECT = "sim-project"
SKEW_S = 300.0


@cache
def _private_key() -> Any:
    rsa: Any = import_module("cryptography.hazmat.primitives.asymmetric.rsa")
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_file(url: str) -> str:
    """Give the JSON that Google gives out once, for a token endpoint at `url`."""
    serialization: Any = import_module("cryptography.hazmat.primitives.serialization")
    pem: bytes = _private_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    fields = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "0123456789abcdef0123456789abcdef01234567",
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "100000000000000000001",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": f"{url}/token",
        "universe_domain": "googleapis.com",
    }
    return msgspec.json.encode(fields).decode()


def fault_of(grant: str, assertion: str, url: str) -> str:
    """Say why an assertion gives no token; empty when it does."""
    if grant != GRANT:
        return "unsupported_grant_type"
    try:
        head, claims, signature = assertion.split(".")
        body: dict[str, Any] = msgspec.json.decode(_raw(claims))
        is_rs256 = msgspec.json.decode(_raw(head)).get("alg") == "RS256"
        is_signed = _is_signed(f"{head}.{claims}".encode(), _raw(signature))
    except (ValueError, msgspec.MsgspecError):
        return "invalid_grant"
    issued_s, ends_s = float(body.get("iat", 0)), float(body.get("exp", 0))
    # Machines' clocks go wrong: Google refuses what was issued too far from its own.
    is_timely = abs(issued_s - time.time()) < SKEW_S and 0 < ends_s - issued_s <= LIFE_S
    # Google's own library always names the real endpoint, wherever the key file points.
    names = body.get("iss") == EMAIL and body.get("aud") in {f"{url}/token", TOKEN_URI}
    scopes = str(body.get("scope", "")).split()
    is_scoped = bool({SCOPE, "https://www.googleapis.com/auth/cloud-platform"} & set(scopes))
    return "" if is_rs256 and is_signed and is_timely and names and is_scoped else "invalid_grant"


def _is_signed(data: bytes, signature: bytes) -> bool:
    primitives: Any = import_module("cryptography.hazmat.primitives")
    padding: Any = import_module("cryptography.hazmat.primitives.asymmetric.padding")
    invalid: Any = import_module("cryptography.exceptions").InvalidSignature
    try:
        _private_key().public_key().verify(
            signature, data, padding.PKCS1v15(), primitives.hashes.SHA256()
        )
    except invalid:
        return False
    return True


def _raw(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
