"""The exit statuses of the command line; those of errors stand in `vaultlayer.errors`.

A script's own status is passed through unchanged. Ours lie in the range of sysexits.h (64-78), which training
scripts do not use by custom.
"""

from vaultlayer.errors import CommandError, InternalError, error_types

OK = 0
DETACHED = 0
"""Ctrl-C on an attached job: the job goes on, and the person has got what was asked for."""

DOCTOR_FAILED = 1
"""At least one check of `doctor` failed."""

CHECK_FAILED = 1
"""`check`: the script did not go on exactly, or that could not be seen."""

INTERRUPTED = 130
"""Ctrl-C anywhere else: 128 + SIGINT."""

BROKEN_PIPE = 141
"""The reader of our output has gone: 128 + SIGPIPE."""

MEANINGS = {
    OK: "done; `run`, `watch`: the script ended well, or Ctrl-C detached from a job that goes on",
    DOCTOR_FAILED: "`doctor`, `providers check`: a check failed; `demo`: the final weights differ; "
    "`check`: the script did not go on exactly, or that could not be seen",
    INTERRUPTED: "Ctrl-C; `run`, `watch`: the job was cancelled",
    BROKEN_PIPE: "the reader of our output has gone",
}
"""What is not an error of ours; for docs/cli.md."""


def error_rows() -> list[tuple[int, str, str]]:
    """List (exit status, code, meaning) of every error of the contract, by status and then by code."""
    rows = [
        (cls.exit_status, code, (cls.__doc__ or "").strip().splitlines()[0])
        for code, cls in error_types().items()
        if cls.__module__ == CommandError.__module__
    ]
    internal = InternalError("")
    return sorted(
        [*rows, (internal.exit_status, internal.code, (InternalError.__doc__ or "").strip())]
    )
