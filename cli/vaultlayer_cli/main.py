"""The program `vaultlayer`: runs a command and turns what goes wrong into words and an exit status."""

import os
import sys
from collections.abc import Sequence

from vaultlayer.errors import FlagError, VaultLayerError
from vaultlayer_cli import exit_codes, terminal
from vaultlayer_cli.errors_text import show_error

EXTRA_MISSING = """\
vaultlayer: the command line needs {name}, which is not installed
mend: pip install 'vaultlayer[all]'
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command of `argv` and end the process with its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    status = run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = _let_go_of_stdout()
    raise SystemExit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status; every expected error is told to the person."""
    try:
        from vaultlayer_cli.app import invoke  # noqa: PLC0415  so that a missing extra can be named
    except ModuleNotFoundError as error:
        return _missing(error)
    try:
        return invoke(arguments)
    except VaultLayerError as error:
        return show_error(error, as_json=_wants_json(arguments, error))
    except BaseExceptionGroup as group:
        return _show_group(group)
    except BrokenPipeError:
        return _let_go_of_stdout()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return exit_codes.INTERRUPTED
    except ModuleNotFoundError as error:
        return _missing(error)


def _wants_json(arguments: Sequence[str], error: VaultLayerError) -> bool:
    """Tell whether the error goes to a program.

    What could not be parsed never came to the option itself: there the word alone must do.
    """
    return terminal.wants_json or (isinstance(error, FlagError) and "--json" in arguments)


def _missing(error: ModuleNotFoundError) -> int:
    """Name the extra when a third party's package is missing; a missing module of ours is a defect."""
    name = (error.name or "").split(".")[0]
    if not name or name == "vaultlayer_cli":
        raise error
    sys.stderr.write(EXTRA_MISSING.format(name=name))
    return exit_codes.SOFTWARE_MISSING


def _show_group(group: BaseExceptionGroup[BaseException]) -> int:
    """Tell the first error of ours that a task group brought up; anything else is a defect."""
    ours, rest = group.split(VaultLayerError)
    if ours is not None:
        return show_error(_first(ours), as_json=terminal.wants_json)
    interrupts, rest = group.split(KeyboardInterrupt)
    if interrupts is not None:
        return exit_codes.INTERRUPTED
    pipes, rest = group.split(BrokenPipeError)
    if pipes is not None:
        return _let_go_of_stdout()
    assert rest is not None
    raise rest


def _first(group: BaseExceptionGroup[VaultLayerError]) -> VaultLayerError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _let_go_of_stdout() -> int:
    """The reader has gone, as `head` does: say nothing, and keep the interpreter from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit_codes.BROKEN_PIPE
