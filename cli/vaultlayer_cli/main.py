"""The program `vaultlayer`: runs a command and turns what goes wrong into words and an exit status."""

import io
import os
import select
import sys
import traceback
from collections.abc import Sequence
from typing import cast

from vaultlayer.errors import (
    DiskError,
    FlagError,
    InternalError,
    ServerMissingError,
    VaultLayerError,
)
from vaultlayer_cli import exit_codes, terminal
from vaultlayer_cli.errors_text import show_error


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command of `argv` and end the process with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # What a terminal cannot spell must not end the view of a job.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    status = run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = _let_go_of_stdout()
    raise SystemExit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status; whatever goes wrong is told to the person."""
    try:
        from vaultlayer_cli.app import invoke  # noqa: PLC0415  so that a missing extra can be named

        return invoke(arguments)
    except BaseException as error:  # noqa: BLE001  the outermost frame: nobody else can tell it
        return _tell(_root(error), arguments)


def _root(error: BaseException) -> BaseException:
    """Give what a task group wraps: an error of ours before anything else, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    for kind in (VaultLayerError, KeyboardInterrupt, BrokenPipeError, BaseException):
        ours, _ = group.split(kind)
        if ours is not None:
            return _root(ours.exceptions[0])
    return group


def _tell(error: BaseException, arguments: Sequence[str]) -> int:
    """Tell one error in the way that fits its kind; gives the exit status."""
    if isinstance(error, VaultLayerError):
        return show_error(error, as_json=_wants_json(arguments, error))
    if isinstance(error, BrokenPipeError) and _is_reader_gone():
        return _let_go_of_stdout()
    if isinstance(error, KeyboardInterrupt):
        sys.stderr.write("\n")
        return exit_codes.INTERRUPTED
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else exit_codes.OK
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("vaultlayer"):
        name = (error.name or "").split(".")[0]
        return show_error(_extra_missing(name), as_json=_wants_json(arguments))
    if os.environ.get("VAULTLAYER_LOG", "").upper() == "DEBUG":
        traceback.print_exception(error)
    return show_error(_unforeseen(error), as_json=_wants_json(arguments))


def _unforeseen(error: BaseException) -> VaultLayerError:
    """Give an error of ours for one that nobody thought of."""
    if isinstance(error, OSError) and error.filename is not None:
        return DiskError(f"cannot use {error.filename}", why=error.strerror or str(error))
    return InternalError(
        "this is a defect of VaultLayer",
        why=f"{type(error).__name__}: {error}",
        mend="report it with what VAULTLAYER_LOG=DEBUG shows",
    )


def _extra_missing(name: str) -> VaultLayerError:
    return ServerMissingError(
        f"this command needs {name}, which is not installed",
        mend="pip install 'vaultlayer[all]'",
    )


def _wants_json(arguments: Sequence[str], error: VaultLayerError | None = None) -> bool:
    """Tell whether the error goes to a program.

    What could not be parsed never came to the option itself: there the word alone must do.
    """
    return terminal.wants_json or (isinstance(error, FlagError) and "--json" in arguments)


def _is_reader_gone() -> bool:
    """Whether it is stdout that broke, and not some connection."""
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _let_go_of_stdout() -> int:
    """The reader has gone, as `head` does: say nothing, and keep the interpreter from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit_codes.BROKEN_PIPE
