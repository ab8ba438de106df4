"""What all errors are made of, and how an error travels."""

from typing import ClassVar

import msgspec


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it travels on the bus and as `--json` prints it."""

    code: str
    what: str
    why: str = ""
    mend: str = ""
    retryable: bool = False


class VaultLayerError(Exception):
    """Base of all errors that are meant for a person.

    Args:
        what: what could not be done, one clause.
        why: the cause, as far as it is known.
        mend: the command or change that mends it.
        retryable: whether the same call may succeed later by itself.
    """

    code: str = "internal"
    exit_status: ClassVar[int] = 70

    def __init__(
        self, what: str, *, why: str = "", mend: str = "", retryable: bool = False
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.mend = mend
        self.retryable = retryable

    def __str__(self) -> str:
        """Give the whole story on up to three lines."""
        lines = [self.what]
        if self.why:
            lines.append(f"why: {self.why}")
        if self.mend:
            lines.append(f"mend: {self.mend}")
        return "\n".join(lines)

    def body(self) -> ErrorBody:
        """Give the error as a value that can be sent."""
        return ErrorBody(
            code=self.code, what=self.what, why=self.why, mend=self.mend, retryable=self.retryable
        )
