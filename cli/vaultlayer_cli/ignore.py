"""Which files of a working directory are not sent: what git ignores, and what never belongs to code."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from pathspec import GitIgnoreSpec

from vaultlayer.errors import InputError

FILES = (".vaultlayerignore", ".gitignore")
"""In order of weight within one directory; both have git's syntax."""

NEVER = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".ipynb_checkpoints",
        ".tox",
        ".nox",
        ".DS_Store",
        "node_modules",
    }
)
"""Names that are left out wherever they stand."""

ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")
"""A directory that holds one of these is a Python environment."""


class Rules(msgspec.Struct, frozen=True):
    """The rules of one file, relative to the directory it stands in."""

    path: Path
    base: Path
    spec: GitIgnoreSpec

    def verdict(self, path: Path, *, is_dir: bool) -> bool | None:
        """Tell whether the file is ignored, kept, or not spoken of."""
        name = path.relative_to(self.base).as_posix()
        return self.spec.check_file(f"{name}/" if is_dir else name).include


class Ignored:
    """Decides for one working directory; rules of deeper directories win over those above.

    Args:
        top: the working directory, absolute.
        never: more paths that are left out, such as our own home when it lies below.
    """

    def __init__(self, top: Path, never: frozenset[Path] = frozenset()) -> None:
        self._top = top
        self._never = never
        self._rules: dict[Path, list[Rules]] = {}
        above = list(_above(top))
        rules = [found for directory in above for found in read_rules(directory)]
        # Whoever works in a directory that git ignores wants what is in it.
        self._above = rules if _decide(list(reversed(rules)), top, is_dir=True) is None else []

    def accept(self, name: str, is_dir: bool) -> bool:
        """Tell whether a path, relative to the working directory, is sent."""
        return self.why_not(name, is_dir=is_dir) is None

    def why_not(self, name: str, *, is_dir: bool) -> str | None:
        """Say what leaves a path out, or None when it is sent."""
        path = self._top / name
        if path.name in NEVER or path in self._never or path.suffix == ".pyc":
            return "it is never sent"
        if is_dir and any((path / mark).exists() for mark in ENVIRONMENT_MARKS):
            return "it is a Python environment"
        found = _decide(self._rules_for(path), path, is_dir=is_dir)
        return f"{found.path} leaves it out" if found else None

    def why_not_reached(self, name: str) -> str | None:
        """Say what leaves a file out, be it a directory on the way to it."""
        parts = Path(name).parts
        for count in range(1, len(parts)):
            if why := self.why_not("/".join(parts[:count]), is_dir=True):
                return why
        return self.why_not(name, is_dir=False)

    def _rules_for(self, path: Path) -> list[Rules]:
        """Give the rules that may speak of a path, the strongest first."""
        rules: list[Rules] = []
        directory = path.parent
        while True:
            if directory not in self._rules:
                self._rules[directory] = read_rules(directory)
            rules += self._rules[directory]
            if directory in {self._top, directory.parent}:
                break
            directory = directory.parent
        return [*rules, *reversed(self._above)]


def _decide(rules: list[Rules], path: Path, *, is_dir: bool) -> Rules | None:
    """Give the rules that leave the path out, or None."""
    for one in rules:
        verdict = one.verdict(path, is_dir=is_dir)
        if verdict is not None:
            return one if verdict else None
    return None


def _above(top: Path) -> Iterator[Path]:
    """Give the directories above `top` in its git repository, the highest first."""
    parents = [top, *top.parents]
    root = next((path for path in parents if (path / ".git").exists()), None)
    if root is not None and root != top:
        yield from reversed(parents[1 : parents.index(root) + 1])


def read_rules(directory: Path) -> list[Rules]:
    """Read a directory's ignore files, the stronger first.

    Raises:
        InputError: a file cannot be read, or one of its lines is no pattern.
    """
    found: list[Rules] = []
    for name in FILES:
        path = directory / name
        try:
            lines = path.read_text().splitlines()
            found.append(Rules(path, directory, GitIgnoreSpec.from_lines(lines)))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot use {path}", why=str(error), mend="correct or remove it"
            ) from error
    return found
