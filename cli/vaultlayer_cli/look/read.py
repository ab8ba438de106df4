"""Reads the files that a look needs: the script that a command runs, and what it imports from beside it."""

import ast
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec

from vaultlayer_cli.look.command import Target, shell_script_of, target_in_shell, target_of
from vaultlayer_cli.look.expect import Choice, Expected, expect
from vaultlayer_cli.look.facts import Facts, facts_of, imports_of

TEXT_MOST_B = 2_000_000
FILES_MOST = 50


def look(command: Sequence[str], work: Path, choice: Choice) -> Expected:
    """Give what is expected of a command in a directory; nothing where its script cannot be read."""
    target = _target(command, work)
    facts = read_facts(target, work) if target is not None else None
    if target is None or facts is None:
        return Expected()
    if target.unhooked:
        choice = msgspec.structs.replace(choice, hooks=False)
    return expect(facts, choice)


def read_facts(target: Target, work: Path) -> Facts | None:
    """Read the facts of a script and of the local modules it imports; None where that cannot be done."""
    script = next((path for path in target.candidates if Path(work, path).is_file()), None)
    if script is None or (text := _read(Path(work, script))) is None:
        return None
    try:
        return facts_of({script: text, **_imported(script, text, work)})
    except (SyntaxError, ValueError, RecursionError):
        return None


def _target(command: Sequence[str], work: Path) -> Target | None:
    shell = shell_script_of(command)
    if shell is None:
        return target_of(command)
    text = _read(Path(work, shell))
    return target_in_shell(text) if text is not None else None


def _imported(script: str, text: str, work: Path) -> dict[str, str]:
    """Read the modules that a script imports from its own directory or the working one, one level deep."""
    found: dict[str, str] = {}
    folder = PurePosixPath(script).parent
    for module, level, names in imports_of(ast.parse(text)):
        top = folder
        for _ in range(level - 1):
            top = top.parent
        stem = module.replace(".", "/")
        stems = [stem, *(f"{stem}/{name}".lstrip("/") for name in names)]
        for path in (f"{one}{end}" for one in stems if one for end in (".py", "/__init__.py")):
            for place in dict.fromkeys(
                (top / path, PurePosixPath(path), PurePosixPath("src", path))
            ):
                other = _read(Path(work, place)) if len(found) < FILES_MOST else None
                if other is not None and str(place) != script and _parses(other):
                    found[str(place)] = other
    return found


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _read(path: Path) -> str | None:
    try:
        if not path.is_file() or path.stat().st_size > TEXT_MOST_B:
            return None
        return path.read_text(errors="replace")
    except OSError:
        return None
