"""An answer of a provider, and what each kind of failure means for the caller."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from vaultlayer.errors import (
    AmbiguousCreateError,
    AuthError,
    BalanceError,
    DriverError,
    ThrottledError,
)

T = TypeVar("T")

HOLD_S = 5.0
"""How long to pause after a 429 that says nothing of it."""
HOLD_S_MAX = 60.0


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer, read to its end."""

    provider: str
    call: str
    """The name of the call, for limits and messages."""
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    text: str = ""
    """The body in one short line without secrets."""
    is_safe: bool = True
    """Whether the call may simply be repeated."""

    def decode(self, kind: type[T]) -> T:
        """Read the body as JSON of the given shape; unknown fields are ignored.

        Raises:
            AmbiguousCreateError: it cannot be read and the call may have made something.
            DriverError: it cannot be read.
        """
        try:
            return msgspec.json.decode(self.body, type=kind, strict=False)
        except msgspec.MsgspecError as error:
            cls = DriverError if self.is_safe else AmbiguousCreateError
            raise cls(
                f"{self.provider} answered {self.call} with something unexpected",
                why=f"HTTP {self.status}: {error}",
                retryable=True,
            ) from error

    def peek(self, kind: type[T]) -> T | None:
        """Read the body where it has the given shape; None where it has not (plain text, HTML …)."""
        try:
            return msgspec.json.decode(self.body, type=kind, strict=False)
        except msgspec.MsgspecError:
            return None


def retry_after_s(reply: Reply) -> float:
    """Give for how long a provider asks to pause."""
    try:
        asked_s = float(reply.headers.get("retry-after", ""))
    except ValueError:
        asked_s = HOLD_S
    return min(max(asked_s, 0.1), HOLD_S_MAX)


def error_of_status(reply: Reply) -> DriverError:
    """Judge a failure by its HTTP status alone; what a provider's body tells comes before this."""
    what = f"{reply.provider} refused {reply.call}"
    why = f"HTTP {reply.status}: {reply.text}".rstrip(": ")
    if reply.status in {401, 403}:
        mend = f"vaultlayer providers key {reply.provider}"
        return AuthError(f"{reply.provider} does not accept the API key", why=why, mend=mend)
    if reply.status == 402:
        mend = f"add credit at {reply.provider}"
        return BalanceError(f"the account at {reply.provider} is empty", why=why, mend=mend)
    if reply.status == 429:
        return ThrottledError(f"{reply.provider} asks for fewer calls", why=why, retryable=True)
    if reply.status in {408, 500, 502, 503, 504} or reply.status >= 520:
        failed = f"{reply.provider} failed at {reply.call}"
        if not reply.is_safe:
            return AmbiguousCreateError(failed, why=why, retryable=True)
        return DriverError(failed, why=why, retryable=True)
    return DriverError(what, why=why)
