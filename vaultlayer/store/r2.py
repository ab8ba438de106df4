"""Keys to one part of a Cloudflare R2 bucket, signed here with the parent key.

The form of the token is from Cloudflare's documentation of temporary credentials; it has not been tried
against R2 itself.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from vaultlayer.errors import ConfigError
from vaultlayer.messages.people import StoreCredential
from vaultlayer.store.sts import Bucket, check_prefixes

_READ = ["HeadObject", "GetObject", "ListObjectsV2"]
_WRITE = ["PutObject"]
_DELETE = ["DeleteObject", "DeleteObjects"]


class R2Minter:
    """Signs keys to Cloudflare R2 here, with the parent key; no call is made.

    One R2 key has one set of prefixes for all its actions, so reading widely and writing narrowly takes
    two: the credential carries the second one in its `read_…` fields. A key cannot be revoked singly.
    """

    def __init__(self, bucket: Bucket, account: str) -> None:
        self._bucket = bucket
        self._account = account

    async def mint(
        self,
        read_prefixes: Sequence[str],
        write_prefix: str,
        duration_s: float,
        *,
        may_delete: bool = False,
    ) -> StoreCredential:
        """Mint a key. See `Minter.mint`."""
        return self.sign(
            read_prefixes, write_prefix, duration_s, now_s=time.time(), may_delete=may_delete
        )

    def sign(
        self,
        read_prefixes: Sequence[str],
        write_prefix: str,
        duration_s: float,
        *,
        now_s: float,
        may_delete: bool = False,
    ) -> StoreCredential:
        """Sign a key that is valid from `now_s` (wall clock) on. Pure."""
        check_prefixes([*read_prefixes, write_prefix])
        if not read_prefixes and not write_prefix:
            raise ConfigError("a key to nothing cannot be signed", why="there is no prefix")
        bucket, lives_s = self._bucket, int(duration_s)
        reader = writer = None
        if read_prefixes:
            reader = self._key(_READ, "object-read-only", read_prefixes, lives_s, now_s)
        if write_prefix:
            actions = [*_WRITE, *(_DELETE if may_delete else [])]
            writer = self._key(actions, "object-read-write", [write_prefix], lives_s, now_s)
        first = writer or reader
        assert first is not None
        second = reader if writer and reader else None
        return StoreCredential(
            endpoint=bucket.endpoint,
            bucket=bucket.bucket,
            region=bucket.region,
            root=bucket.root,
            access_key=bucket.access_key,
            secret_key=first[0],
            session_token=first[1],
            expires_in_s=float(lives_s),
            write_prefix=write_prefix,
            read_prefix=read_prefixes[0] if read_prefixes else "",
            read_access_key=bucket.access_key if second else "",
            read_secret_key=second[0] if second else "",
            read_session_token=second[1] if second else "",
        )

    def _key(
        self, actions: list[str], scope: str, prefixes: Sequence[str], lives_s: int, now_s: float
    ) -> tuple[str, str]:
        """Give (secret, session token): a JWT over the scope, and its digest."""
        paths = (
            {} if "" in prefixes else {"paths": {"prefixPaths": list(prefixes), "objectPaths": []}}
        )
        claims: dict[str, object] = {
            "bucket": self._bucket.bucket,
            "scope": scope,
            "actions": actions,
            **paths,
            "sub": self._account,
            "iss": self._bucket.access_key,
            "aud": urlsplit(self._bucket.endpoint).hostname or "",
            "iat": int(now_s),
            "exp": int(now_s) + lives_s,
        }
        jwt = _jwt(claims, self._bucket.secret_key.encode())
        token = base64.b64encode(b"jwt/" + jwt).decode()
        return hashlib.sha256(jwt).hexdigest(), token


def _jwt(claims: dict[str, object], key: bytes) -> bytes:
    head = _part(msgspec.json.encode({"alg": "HS256", "typ": "JWT"}))
    signed = head + b"." + _part(msgspec.json.encode(claims))
    return signed + b"." + _part(hmac.digest(key, signed, "sha256"))


def _part(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
