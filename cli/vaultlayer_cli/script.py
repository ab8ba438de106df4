"""A look at the command before anything is spent: is there something to run, and is its script sent?"""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from vaultlayer.errors import CommandError, ScriptMissingError
from vaultlayer_cli.workdir import Workdir

_PYTHON = re.compile(r"(?:python|pypy)(?:\d+(?:\.\d+)*)?t?\Z")
_SHELLS = frozenset({"bash", "sh", "zsh", "dash", "ksh"})
_LAUNCHERS = frozenset(
    {"torchrun", "accelerate", "deepspeed", "horovodrun", "mpirun", "uv", "poetry", "conda", "pdm"}
)
_SCRIPT = re.compile(r".+\.(?:py|sh|bash)\Z")
_NEAR_MAX = 3


def check_command(command: Sequence[str], workdir: Workdir) -> None:
    """Refuse what cannot run; in doubt it may.

    Raises:
        CommandError: there is no command, or it is a file that cannot be run by itself.
        ScriptMissingError: the script is not there, or is not sent.
    """
    if not command or not command[0].strip():
        raise CommandError("there is no command to run", mend="vaultlayer run python train.py")
    if "/" in command[0] or (_SCRIPT.match(command[0]) and not shutil.which(command[0])):
        _check_program(command[0], workdir)
    script = script_of(command)
    if script is not None:
        _check_sent(script, workdir)


def script_of(command: Sequence[str]) -> str | None:
    """Give the script that a known interpreter or launcher is told to run, when it looks like one."""
    program = Path(command[0]).name
    words = command[1:]
    if _PYTHON.match(program) or program in _SHELLS:
        first = _first_word(words)
        return first if first is not None and _SCRIPT.match(first) else None
    if program in _LAUNCHERS:
        return next((w for w in words if not w.startswith("-") and _SCRIPT.match(w)), None)
    return None


def _first_word(words: Sequence[str]) -> str | None:
    """Give the first word that is no option; None when the interpreter is told something else to run."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in {"-c", "-m", "-s", "-"} or re.match(r"-[a-zA-Z]*[cm]\Z", word):
            return None
        elif word in {"-W", "-X", "-o", "-O"}:
            skip = word != "-O"
        elif not word.startswith("-"):
            return word
    return None


def _check_program(program: str, workdir: Workdir) -> None:
    path = Path(workdir.path, program)
    _check_sent(program, workdir)
    if (path.is_file() and not os.access(path, os.X_OK)) or "/" not in program:
        runner = "python" if path.suffix == ".py" else "bash"
        raise CommandError(
            f"{program} cannot be run by itself",
            why="it is no program that is marked as executable"
            if "/" in program
            else "a program in the working directory is not looked for by its bare name",
            mend=f"vaultlayer run {runner} {program}",
        )


def _check_sent(script: str, workdir: Workdir) -> None:
    path = Path(workdir.path, script)
    if not path.exists():
        near = _near(path, workdir)
        raise ScriptMissingError(
            f"there is no {script} in {workdir.path}",
            why=f"nearest: {', '.join(near)}" if near else "",
            mend="run it from the directory that the script's path starts from",
        )
    if not path.is_relative_to(workdir.path) or ".." in path.parts:
        return
    why = workdir.ignored.why_not_reached(path.relative_to(workdir.path).as_posix())
    if why is not None:
        raise ScriptMissingError(
            f"{script} is not sent with the job",
            why=why,
            mend=f"put !{script} into .vaultlayerignore",
        )


def _near(path: Path, workdir: Workdir) -> list[str]:
    """Give scripts of the same name elsewhere, or of nearly the same name."""
    import difflib  # noqa: PLC0415  only on the way to an error

    scripts = sorted(name for name in workdir.names if _SCRIPT.match(name))
    same = [name for name in scripts if Path(name).name == path.name]
    return (same or difflib.get_close_matches(path.name, scripts, cutoff=0.6))[:_NEAR_MAX]
