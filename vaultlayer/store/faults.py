"""What an S3 answer means: pure, from the text of a fault to one of our errors."""

import re

from vaultlayer.errors import (
    StoreConflictError,
    StoreDeniedError,
    StoreError,
    StoreMissingError,
    StoreUnreachableError,
)

_CODE = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
_STATUS = re.compile(r"status code: (\d{3})")

_DENIED = {
    "AccessDenied": "the key does not reach that far",
    "AllAccessDisabled": "the account is disabled",
    "ExpiredToken": "the key has expired",
    "ExpiredRequest": "the key has expired, or this machine's clock is wrong",
    "InvalidAccessKeyId": "the store does not know this key",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "SignatureDoesNotMatch": "the secret does not belong to the key",
    "TokenRefreshRequired": "the key has expired",
    "Unauthorized": "the store does not know this key",
}
_PASSING = {
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "TooManyRequests",
}
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict"}
_MISSING = {
    "NoSuchKey": "there is no such object",
    "NoSuchBucket": "there is no such bucket",
    "InvalidRange": "the object is shorter than that",
}


def fault_of(text: str, *, kind: str, what: str, endpoint: str) -> StoreError:
    """Turn a client library's fault into one of our errors.

    Args:
        text: the library's message; only the S3 code and the status are taken from it, for a store may
            repeat signatures and keys in the rest.
        kind: the name of the library's exception class.
        what: what could not be done, one clause.
        endpoint: where the store listens, for the message.

    `retryable` is set for what passes by itself: no connection, 429, 5xx.
    """
    code = _code(text)
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    if _is_conflict(kind, code, status):
        return StoreConflictError(what, why="something else is in place")
    if (
        kind in {"PermissionDeniedError", "UnauthenticatedError"}
        or code in _DENIED
        or status in {401, 403}
    ):
        return StoreDeniedError(
            what,
            why=_DENIED.get(code, "the store refuses the key"),
            mend="vaultlayer doctor tells which key it is",
        )
    if kind == "FileNotFoundError" or code in _MISSING or status in {404, 416}:
        return StoreMissingError(what, why=_MISSING.get(code, "there is no such object or bucket"))
    if code in _PASSING or status in {408, 429} or status >= 500:
        reason = f"{endpoint} answers {status or code}"
        return StoreUnreachableError(what, why=reason, retryable=True)
    if status:
        return StoreError(what, why=f"{endpoint} answers {status} {code}".rstrip())
    silent = "HTTP error" in text or not text
    return StoreUnreachableError(
        what,
        why=f"{endpoint} does not answer"
        if silent
        else f"{endpoint} answers something that is no S3",
        mend="is the endpoint right, and the server up?",
        retryable=True,
    )


def _code(text: str) -> str:
    found = _CODE.search(text)
    return (found[1] or found[2]) if found else ""


def _is_conflict(kind: str, code: str, status: int) -> bool:
    known = kind in {"AlreadyExistsError", "PreconditionError", "NotModifiedError"}
    return known or code in _CONFLICT or status in {409, 412}


def is_bucket_missing(error: StoreMissingError) -> bool:
    """Tell whether it is the whole bucket that is not there, where the store said so."""
    return error.why == _MISSING["NoSuchBucket"]
