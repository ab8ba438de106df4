"""Which Python file a command line will run: behind interpreters, launchers and shell scripts. Pure."""

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

import msgspec

PYTHON = re.compile(r"(?:python|pypy)(?:\d+(?:\.\d+)*)?t?\Z")
LAUNCHERS = frozenset({"torchrun", "accelerate", "deepspeed", "horovodrun", "mpirun", "composer"})
LAUNCHER_MODULES = ("torch.distributed.", "accelerate.commands", "deepspeed.launcher")
WRAPPERS = frozenset(
    {
        "env",
        "nohup",
        "time",
        "exec",
        "srun",
        "uv",
        "poetry",
        "conda",
        "pdm",
        "run",
        "nice",
        "stdbuf",
    }
)
SHELLS = frozenset({"bash", "sh", "zsh", "dash", "ksh"})
_VALUED = frozenset({"-W", "-X"})
_WRAPPED_MOST = 8


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is run: a script by its path, or a module by its name; neither is known to exist.

    `unhooked`: the interpreter was told not to look where our hooks are (`-I`, `-E` or `-S`).
    """

    script: str = ""
    module: str = ""
    arguments: tuple[str, ...] = ()
    unhooked: bool = False

    @property
    def candidates(self) -> list[str]:
        """Paths relative to the working directory at which the file may be, the likeliest first."""
        if self.script:
            return [self.script]
        path = self.module.replace(".", "/")
        return [f"{top}{path}{end}" for top in ("", "src/") for end in (".py", "/__main__.py")]


def target_of(words: Sequence[str]) -> Target | None:
    """Give what a command runs; None when it is no Python, or cannot be told."""
    words = _unwrapped(words)
    if not words:
        return None
    program = PurePosixPath(words[0]).name
    if PYTHON.match(program):
        return _of_python(words[1:])
    if program in LAUNCHERS:
        return _of_launcher(words[1:])
    if words[0].endswith(".py"):
        return Target(script=words[0], arguments=tuple(words[1:]))
    return None


def shell_script_of(words: Sequence[str]) -> str | None:
    """Give the shell script that a command runs, if it is one."""
    words = _unwrapped(words)
    if words and PurePosixPath(words[0]).name in SHELLS:
        words = [word for word in words[1:] if not word.startswith("-")]
    return words[0] if words and words[0].endswith((".sh", ".bash")) else None


def target_in_shell(text: str) -> Target | None:
    """Give what the last line of a shell script runs that runs any Python."""
    found: Target | None = None
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        found = target_of(words) or found
    return found


def _unwrapped(words: Sequence[str]) -> list[str]:
    """Drop `env A=b`, `uv run` and the like from the front."""
    rest = list(words)
    for _ in range(_WRAPPED_MOST):
        if not rest:
            break
        is_setting = re.match(r"[A-Za-z_]\w*=", rest[0]) is not None
        if is_setting or PurePosixPath(rest[0]).name in WRAPPERS:
            rest = rest[1:]
        elif rest[0] in {"-n", "-p", "--name"} and len(rest) > 1:
            rest = rest[2:]
        elif rest[0].startswith("-"):
            rest = rest[1:]
        else:
            break
    return rest


def _of_python(words: Sequence[str]) -> Target | None:
    unhooked = False
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            return Target(script=word, arguments=tuple(rest), unhooked=unhooked)
        if word in _VALUED and rest:
            rest.pop(0)
        elif word == "-" or re.match(r"-[a-zA-Z]*c\Z", word):
            return None
        elif re.match(r"-[a-zA-Z]*m\Z", word):
            return _of_module(rest, unhooked=unhooked or _is_unhooking(word))
        unhooked = unhooked or _is_unhooking(word)
    return None


def _is_unhooking(word: str) -> bool:
    return re.match(r"-[a-zA-Z]*[IES]", word) is not None and not word.startswith("--")


def _of_module(rest: list[str], *, unhooked: bool) -> Target | None:
    if not rest:
        return None
    if rest[0].startswith(LAUNCHER_MODULES):
        return _of_launcher(rest[1:])
    return Target(module=rest[0], arguments=tuple(rest[1:]), unhooked=unhooked)


def _of_launcher(words: Sequence[str]) -> Target | None:
    """Find the script behind a launcher's own options, whose arity nobody knows but the launcher."""
    for index, word in enumerate(words):
        if word in {"-m", "--module"} and index + 1 < len(words):
            return Target(module=words[index + 1], arguments=tuple(words[index + 2 :]))
        if word.endswith(".py") and not word.startswith("-"):
            return Target(script=word, arguments=tuple(words[index + 1 :]))
        if PYTHON.match(PurePosixPath(word).name):
            return _of_python(words[index + 1 :])
    return None
