"""The pages that people read say what the code says."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def load_generator(name: str = "generate"):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


@pytest.mark.parametrize("name", GENERATOR.PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == GENERATOR.PAGES[name](), "run: make docs"


def test_the_page_of_the_resume_matrix_is_what_its_results_say() -> None:
    rows = json.loads((ROOT / "docs" / "resume-matrix.json").read_bytes())
    written = (ROOT / "docs" / "resume-matrix.md").read_text()
    assert written == load_generator("resume_matrix").page(rows), "run: make docs"


def test_every_link_inside_the_docs_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def excerpts() -> list[tuple[str, str]]:
    """The code that docs/writing-a-driver.md shows, with the file that it says it is from."""
    page = (ROOT / "docs" / "writing-a-driver.md").read_text()
    return re.findall(r"<!-- (\S+) -->\n```\w+\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize(("name", "code"), excerpts(), ids=lambda part: part[:40])
def test_the_code_of_the_page_on_drivers_is_the_code_that_is_tested(name: str, code: str) -> None:
    assert code in (ROOT / "docs" / name).read_text()


def test_the_page_on_drivers_shows_code() -> None:
    assert len(excerpts()) >= 10
