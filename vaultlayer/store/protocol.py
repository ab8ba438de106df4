"""What the rest of the system asks of a bucket, as a Protocol, so that nothing else knows S3."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec


class ObjectStat(msgspec.Struct, frozen=True, kw_only=True):
    """One object as the bucket lists it. `modified_s` is the store's own wall clock."""

    key: str
    size_b: int
    etag: str = ""
    modified_s: float = 0.0


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """An object's bytes with the etag that a conditional put can name."""

    data: bytes
    etag: str


class Store(Protocol):
    """One bucket under one credential.

    Keys are whole keys: the bucket's root is part of them. Every method has a deadline, tries again by
    itself after what passes (429, 5xx, a broken connection) and then raises one of

        StoreUnreachableError: the endpoint does not answer, or only with faults.
        StoreDeniedError: the credential does not reach that far, or has expired.
        StoreMissingError: the bucket or the object is not there.
    """

    async def put(
        self,
        key: str,
        data: bytes | bytearray | memoryview | Sequence[memoryview],
        *,
        only_if_absent: bool = False,
        if_match: str = "",
    ) -> str:
        """Write an object whole, in one request; gives its etag.

        Args:
            key: the whole key.
            data: what to write; several pieces are written one after another.
            only_if_absent: write only when there is no object of that key.
            if_match: write only over the object of this etag.

        Raises:
            StoreConflictError: the condition did not hold. After a lost reply this may be the
                own write of the first try: read and compare.
        """
        ...

    async def get(self, key: str) -> Blob:
        """Read an object whole, with its etag."""
        ...

    async def get_range(self, key: str, offset_b: int, length_b: int) -> memoryview:
        """Read a part; it is shorter than asked for when the object ends before."""
        ...

    async def head(self, key: str) -> ObjectStat:
        """Give size and etag without the bytes."""
        ...

    def list(self, prefix: str) -> AsyncIterator[ObjectStat]:
        """List the objects below a prefix that ends with a slash (or is empty), in no certain order."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        ...
