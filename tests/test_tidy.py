"""Properties of the code itself that a linter does not know."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE_LINES_MAX = 400
DEF_LINES_MAX = 60
FORBIDDEN = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"]) + r")\b"
)


def tracked(*suffixes: str) -> list[Path]:
    """Every file that git tracks or would track, with one of these suffixes."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    return [ROOT / name for name in listed if name.endswith(suffixes) and (ROOT / name).is_file()]


PYTHON = tracked(".py")
PRODUCT = [
    p for p in PYTHON if p.relative_to(ROOT).parts[0] in {"vaultlayer", "actors", "agent", "cli"}
]


def test_the_sweep_sees_the_code() -> None:
    assert len(PRODUCT) > 40


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_no_longer_than_the_house_allows(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_function_is_no_longer_than_the_house_allows(path: Path) -> None:
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > DEF_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_left_unfinished(path: Path) -> None:
    found = [line for line in path.read_text().splitlines() if FORBIDDEN.search(line)]
    assert found == []


def test_no_conflict_is_left_in_a_file() -> None:
    marks = re.compile(r"^(<{7} |>{7} )", re.MULTILINE)
    texts = tracked(".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".sh", "Makefile", "Dockerfile")
    assert [str(path) for path in texts if marks.search(path.read_text())] == []


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_why_it_exists(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_one_adapter_a_library_imports_it() -> None:
    allowed = {
        "nats": ("vaultlayer/bus/",),
        "aioboto3": ("vaultlayer/store/",),
        "aiobotocore": ("vaultlayer/store/", "actors/vaultlayer_actors/drivers/aws/"),
        "botocore": ("vaultlayer/store/", "actors/vaultlayer_actors/drivers/aws/"),
        "obstore": ("vaultlayer/store/",),
    }
    for path in PRODUCT:
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            for module in modules:
                home = allowed.get(module.split(".")[0])
                assert home is None or name.startswith(home), f"{name} imports {module}"
