"""The proof names the tests that check it, so those tests must be there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROOFS = (ROOT / "docs" / "proofs.md").read_text()


def test_every_test_that_the_proof_names_exists() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    names = {name.rstrip("…") for name in re.findall(r"`(test_[a-z_]+…?)`", PROOFS)}
    assert len(names) > 10
    assert [name for name in sorted(names) if f"def {name}" not in tests] == []


def test_every_file_that_the_proof_names_exists() -> None:
    paths = set(re.findall(r"`((?:tests|vaultlayer)/[\w/]+\.py)`", PROOFS))
    assert len(paths) > 5
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
