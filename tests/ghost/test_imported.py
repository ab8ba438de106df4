"""A replay skips calls: the code that they would run must be the code that the dead run had imported."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.ghosts import SCRIPTS, Ghost, hook_module, through_deaths

LAYER = """
import torch
class {name}(torch.nn.Module):
    def forward(self, x):
        return x * {factor}
"""


def lay(top: Path, *, factor: str = "1.5", version: str = "1.0", listed: str = "") -> str:
    """Write a module and a library as an interpreter finds them; give the search path."""
    own, library = top / "own", top / "lib" / "site-packages"
    for directory in (own, library):
        directory.mkdir(parents=True, exist_ok=True)
    (own / "layers.py").write_text(LAYER.format(name="Layer", factor=factor))
    package = library / "scaling"
    package.mkdir(exist_ok=True)
    said = f'__version__ = "{version}"\n' if version else ""
    (package / "__init__.py").write_text(said + LAYER.format(name="Scaled", factor="1.0"))
    if listed:
        (library / f"scaling-{listed}.dist-info").mkdir()
    return f"{own}:{library}"


@pytest.mark.train
def test_what_has_not_changed_is_no_hindrance(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "beside.py", BESIDE=lay(tmp_path)), 25, 45)


@pytest.mark.train
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"factor": "1.6"}, "the module layers is not what it was"),
        ({"version": "1.1"}, "scaling is not what it was: 1.1, and was 1.0"),
    ],
)
def test_a_changed_module_or_library_ends_the_replay(
    tmp_path: Path, changed: dict[str, str], told: str
) -> None:
    ghost = Ghost(tmp_path, SCRIPTS / "beside.py", BESIDE=lay(tmp_path))
    assert ghost.attempt(die_at=45).status == -9
    lay(tmp_path, **changed)
    ended = ghost.attempt(replay=True)
    assert ended.status == 121, ended.output
    assert not ended.told("live")
    assert ended.told("diverged")[0]["detail"] == told


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is known of the imports after those of `beside.py`, with a version that only its folder tells."""
    imported = hook_module("imported").Imported()
    imported.see()
    places = lay(tmp_path, version="", listed="2.0").split(":")
    monkeypatch.setattr(sys, "path", [*places, *sys.path])
    for name in ("layers", "scaling"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        __import__(name)
    for name in ("matplotlib", "fetching"):
        other = ModuleType(name)
        other.__version__ = "3.0"  # pyright: ignore[reportAttributeAccessIssue]
        if name == "matplotlib":
            other.np = None  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, name, other)
    return imported.see()


def test_a_version_is_read_from_the_name_of_the_folder_that_pip_has_left(
    known: dict[str, str],
) -> None:
    assert known["scaling"] == "2.0"
    assert known["layers"].startswith("content ")


def test_what_computes_nothing_does_not_count(known: dict[str, str]) -> None:
    assert "matplotlib" not in known
    assert "fetching" not in known
