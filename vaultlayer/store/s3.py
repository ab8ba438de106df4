"""An S3 bucket through obstore: bulk bytes and conditional puts in one small client.

The agent needs nothing but this. obstore is loaded on first use, so that importing the module is cheap.
"""

import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import anyio

from vaultlayer.errors import StoreDeniedError, StoreError, StoreUnreachableError
from vaultlayer.messages.people import StoreCredential
from vaultlayer.store.faults import fault_of
from vaultlayer.store.protocol import Blob, ObjectStat, Store

if TYPE_CHECKING:
    from obstore.store import S3Store as Client

T = TypeVar("T")

TRIES = 6
"""Most tries of one call; with the waits between them about 15 s when the endpoint refuses at once."""

FIRST_WAIT_S = 0.25
MOST_WAIT_S = 8.0
ANSWER_S = 20.0
"""How long a try may take beside its bytes."""

SLOWEST_B_S = 256 * 1024
"""A try that moves less than this per second is given up."""

GET_MOST_B = 64 * 1024 * 1024
DELETE_BATCH = 500


class S3Store:
    """One bucket under one credential; implements `vaultlayer.store.protocol.Store`.

    Requests are path style. Over TLS and on loopback the payload is not signed: hashing it again would
    double the cost, and nothing can change it on the way.
    """

    def __init__(
        self, credential: StoreCredential, *, tries: int = TRIES, answer_s: float = ANSWER_S
    ) -> None:
        self._tries = tries
        self._answer_s = answer_s
        self._set(credential)

    @property
    def credential(self) -> StoreCredential:
        """The credential in use."""
        return self._credential

    def refresh(self, credential: StoreCredential) -> None:
        """Use new keys from now on; requests under way end with the old ones."""
        self._set(credential)

    def _set(self, credential: StoreCredential) -> None:
        self._credential = credential
        self._writer = _client(
            credential, credential.access_key, credential.secret_key, credential.session_token
        )
        self._reader = self._writer
        if credential.read_access_key:
            self._reader = _client(
                credential,
                credential.read_access_key,
                credential.read_secret_key,
                credential.read_session_token,
            )

    async def put(
        self,
        key: str,
        data: bytes | bytearray | memoryview | Sequence[memoryview],
        *,
        only_if_absent: bool = False,
        if_match: str = "",
    ) -> str:
        """Write an object whole, in one request; gives its etag. See `Store.put`."""
        import obstore  # noqa: PLC0415  loaded on first use

        mode: Any = "overwrite"
        if only_if_absent:
            mode = "create"
        elif if_match:
            mode = {"e_tag": if_match}
        flat = isinstance(data, (bytes, bytearray, memoryview))
        size_b = len(data) if flat else sum(len(part) for part in data)
        body: Any = data if flat else list(data)

        async def call() -> str:
            result = await obstore.put_async(
                self._writer, key, body, mode=mode, use_multipart=False
            )
            return result["e_tag"] or ""

        return await self._call(call, f"cannot write {key}", size_b)

    async def get(self, key: str, *, most_b: int = GET_MOST_B) -> Blob:
        """Read an object whole; raises StoreError when it is larger than `most_b`."""
        import obstore  # noqa: PLC0415  loaded on first use

        async def call() -> Blob:
            found = await obstore.get_async(self._reader, key)
            if found.meta["size"] > most_b:
                raise StoreError(
                    f"{key} is too large to read whole",
                    why=f"{found.meta['size']} bytes, at most {most_b}",
                )
            return Blob(data=bytes(await found.bytes_async()), etag=found.meta["e_tag"] or "")

        return await self._call(call, f"cannot read {key}", most_b)

    async def get_range(self, key: str, offset_b: int, length_b: int) -> memoryview:
        """Read a part; it is shorter than asked for when the object ends before."""
        import obstore  # noqa: PLC0415  loaded on first use

        async def call() -> memoryview:
            options: Any = {"range": (offset_b, offset_b + length_b)}
            found = await obstore.get_async(self._reader, key, options=options)
            return memoryview(await found.bytes_async())

        return await self._call(call, f"cannot read {key}", length_b)

    async def sign_get(self, key: str, life_s: float) -> str:
        """Give a URL that reads one object without a key, for `life_s` seconds; nothing is sent."""
        from datetime import timedelta  # noqa: PLC0415  rarely needed

        import obstore  # noqa: PLC0415  loaded on first use

        return await obstore.sign_async(self._reader, "GET", key, timedelta(seconds=life_s))

    async def head(self, key: str) -> ObjectStat:
        """Give size and etag without the bytes."""
        import obstore  # noqa: PLC0415  loaded on first use

        async def call() -> ObjectStat:
            return _stat(await obstore.head_async(self._reader, key))

        return await self._call(call, f"cannot look at {key}", 0)

    async def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """List the objects below a prefix that ends with a slash; a broken listing starts again."""
        import obstore  # noqa: PLC0415  loaded on first use

        assert not prefix or prefix.endswith("/")
        after: str | None = None
        while True:
            start = after

            async def call(start: str | None = start) -> Sequence[Any]:
                stream: Any = _listing(obstore)(self._reader, prefix, offset=start, chunk_size=1000)
                async for page in stream:
                    return page
                return []

            page = await self._call(call, f"cannot list {prefix or 'the bucket'}", 0)
            if not page:
                return
            for entry in page:
                yield _stat(entry)
            after = max(entry["path"] for entry in page)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        import obstore  # noqa: PLC0415  loaded on first use

        for start in range(0, len(keys), DELETE_BATCH):
            batch = list(keys[start : start + DELETE_BATCH])

            async def call(batch: Sequence[str] = batch) -> None:
                await obstore.delete_async(self._writer, batch)

            await self._call(call, f"cannot delete {len(batch)} objects, {batch[0]} first", 0)

    async def _call(self, call: Callable[[], Awaitable[T]], what: str, size_b: int) -> T:
        """Try, wait, try again; a refusal is tried once more only when the keys were changed meanwhile."""
        allowed_s = self._answer_s + size_b / SLOWEST_B_S
        for number in range(1, self._tries + 1):
            used = self._credential
            try:
                return await self._once(call, what, allowed_s)
            except StoreDeniedError:
                if used is self._credential:
                    raise
            except StoreUnreachableError as error:
                if not error.retryable or number == self._tries:
                    raise
                await anyio.sleep(
                    random.uniform(0.5, 1) * min(MOST_WAIT_S, FIRST_WAIT_S * 2**number)
                )
        return await self._once(call, what, allowed_s)

    async def _once(self, call: Callable[[], Awaitable[T]], what: str, allowed_s: float) -> T:
        endpoint = self._credential.endpoint
        try:
            with anyio.fail_after(allowed_s):
                return await call()
        except TimeoutError as error:
            raise StoreUnreachableError(
                what, why=f"{endpoint} did not answer within {allowed_s:.0f} s", retryable=True
            ) from error
        except ValueError as error:
            raise StoreError(what, why="that is no key") from error
        except FileNotFoundError as error:
            raise fault_of(
                str(error), kind=type(error).__name__, what=what, endpoint=endpoint
            ) from None
        except _faults() as error:
            raise fault_of(
                str(error), kind=type(error).__name__, what=what, endpoint=endpoint
            ) from None


def open_store(credential: StoreCredential) -> S3Store:
    """Open the bucket that the credential names; nothing is sent yet."""
    return S3Store(credential)


async def probe(store: Store, prefix: str) -> None:
    """Put, read and delete a tiny object below `prefix`; raises what is wrong with the bucket or the key."""
    key = f"{prefix}probe-{random.randbytes(8).hex()}"
    await store.put(key, b"vaultlayer")
    try:
        found = await store.get(key)
    finally:
        await store.delete([key])
    if found.data != b"vaultlayer":
        raise StoreError(
            f"{key} reads back as something else", why="the bucket is not what it seems"
        )


def _listing(library: Any) -> Callable[..., Any]:
    """Give `obstore.list`, whose overloads name types of a library that need not be installed."""
    listing: Callable[..., Any] = library.list
    return listing


def _faults() -> type[Exception]:
    """Give the library's base error; it can only have been raised once the library is loaded."""
    exceptions = sys.modules.get("obstore.exceptions") or sys.modules["obstore._obstore.exceptions"]
    base: type[Exception] = exceptions.BaseError
    return base


def _client(credential: StoreCredential, access_key: str, secret_key: str, token: str) -> "Client":
    """Build a client that takes nothing from the environment, whatever AWS variables the user has set."""
    from obstore.store import S3Store as Client  # noqa: PLC0415  loaded on first use

    keys: Any = {
        "access_key_id": access_key,
        "secret_access_key": secret_key,
        "token": token or None,
        "expires_at": None,
    }
    split = urlsplit(credential.endpoint)
    safe = split.scheme == "https" or split.hostname in {"127.0.0.1", "localhost", "::1"}
    return Client(
        credential.bucket,
        endpoint=credential.endpoint,
        aws_endpoint_url_s3=credential.endpoint,
        region=credential.region,
        virtual_hosted_style_request=False,
        unsigned_payload=safe,
        skip_signature=False,
        s3_express=False,
        request_payer=False,
        conditional_put="etag",
        credential_provider=lambda: keys,
        client_options={
            "allow_http": split.scheme == "http",
            "connect_timeout": "10s",
            "timeout": "1h",
        },
        retry_config={"max_retries": 0},
    )


def _stat(entry: Any) -> ObjectStat:
    return ObjectStat(
        key=entry["path"],
        size_b=entry["size"],
        etag=entry["e_tag"] or "",
        modified_s=entry["last_modified"].timestamp(),
    )
