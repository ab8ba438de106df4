"""The commands by name; a command's own file is imported only when it is called.

Each file in `commands/` has one function of the command's name. Its summary stands here, so that
`vaultlayer --help` need not import twenty files; a test keeps both the same.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from vaultlayer.errors import FlagError
from vaultlayer_cli import exit_codes

GROUPS: dict[str, dict[str, str]] = {
    "Jobs": {
        "run": "Run a command as a job that survives its machine.",
        "check": "Try on this machine whether a script resumes, before money is spent.",
        "watch": "Follow a job: its output, its events, where it stands.",
        "ps": "List jobs, the newest first.",
        "show": "Show one job: attempts, checkpoints, cost.",
        "logs": "Print a job's output, one continuous log over all its machines.",
        "events": "Print a job's log: every entry, with its time and cause.",
        "checkpoints": "List a job's checkpoints, the newest first.",
        "pull": "Fetch a job's newest checkpoint, which holds all its outputs.",
        "cancel": "Stop a job; what it has saved stays.",
        "drill": "Kill, freeze or preempt a job's machine, to see it recover.",
        "providers": "List the providers, allow or ban one, hand over its API key.",
        "offers": "Show what each provider can serve now, and at what price.",
        "sweep": "Run the smoke jobs on a provider, end to end.",
        "sim": "Simulate providers on this machine, until Ctrl-C.",
        "wheels": "Put the agent of this version into your bucket, for machines to install it from.",
    },
    "Broker": {
        "init": "Write a configuration that works on this machine.",
        "up": "Start the broker on this machine.",
        "down": "Stop the broker on this machine.",
        "status": "Show whether the broker serves, where, and what it has to do.",
        "doctor": "Check everything a job needs, and say how to mend it.",
        "actor": "Run one or more actors as a process of their own.",
    },
    "More": {
        "demo": "See a training job survive two deaths of its machine.",
        "version": "Print the version.",
    },
}

SETTINGS: dict[str, dict[str, Any]] = {
    # What follows the command's first word belongs to it, even what looks like an option of ours.
    "run": {"allow_interspersed_args": False},
    "check": {"allow_interspersed_args": False},
}

PROGRAM = "vaultlayer"


class LazyGroup(TyperGroup):
    """Knows all commands by summary, and loads the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command by name and put the real one in the place of its summary."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, load(name) if name is not None else known, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  the base's shape
        """List the commands by group."""
        widest = max(len(name) for name in self.commands)
        for title, group in GROUPS.items():
            rows = [(name.ljust(widest), summary) for name, summary in group.items()]
            with formatter.section(title):
                formatter.write_dl(rows)


def load(name: str) -> Any:
    """Import one command's file and give the command."""
    module = import_module(f"vaultlayer_cli.commands.{name}")
    one = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    settings = {"help_option_names": ["-h", "--help"], **SETTINGS.get(name, {})}
    one.command(name, context_settings=settings)(getattr(module, name))
    return typer.main.get_command(one)


def build() -> Any:
    """Give the whole program."""
    app = typer.Typer(
        name=PROGRAM,
        cls=LazyGroup,
        help="Run an unmodified training script on cheap, flaky GPUs; it survives its machine.",
        epilog="vaultlayer COMMAND --help tells more. Most commands take --json.",
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=False,
    )

    @app.callback(invoke_without_command=True)
    def vaultlayer(  # pyright: ignore[reportUnusedFunction]
        ctx: typer.Context,
        version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    ) -> None:
        if version:
            load("version")(args=[], prog_name=PROGRAM, standalone_mode=False)
            raise typer.Exit(exit_codes.OK)
        if ctx.invoked_subcommand is None:
            sys.stdout.write(ctx.get_help() + "\n")

    for group in GROUPS.values():
        for name, summary in group.items():
            app.command(name, help=summary)(_summary_only)
    return typer.main.get_command(app)


def _summary_only() -> None:
    """Stand in for a command that is not loaded."""


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and give its exit status.

    Raises:
        FlagError: the command line cannot be read.
        VaultLayerError: whatever the command says.
    """
    try:
        status = build()(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        sys.stderr.write("\n")
        return exit_codes.INTERRUPTED
    except SystemExit as ended:
        # The library ends the process by itself in one case only, and takes every broken pipe for stdout's.
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None
        return 1
    except typer.TyperException as error:
        raise _flag_error(error) from None
    return status if isinstance(status, int) else exit_codes.OK


def _flag_error(error: typer.TyperException) -> FlagError:
    """Say what is wrong with the command line in our own form."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else PROGRAM
    what = error.format_message().strip().rstrip(".")
    return FlagError(what[:1].lower() + what[1:], mend=f"{path} --help")
