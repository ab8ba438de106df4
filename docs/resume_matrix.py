"""Writes docs/resume-matrix.md from docs/resume-matrix.json, which `make test-matrix` makes.

`MATRIX=all MATRIX_RESULTS=docs/resume-matrix.json make test-matrix` runs the scripts and keeps what came of
them, `python docs/resume_matrix.py` writes the page; `tests/unit/test_docs.py` fails when the page differs
from the results.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
COLUMNS = ("weights", "optimizer", "metrics", "logs")
HEADS = ("script", "what is in it", "tier", *COLUMNS, "steps run again", "verified")
HEAD = """# The resume matrix

Training scripts as people write them; none of them knows VaultLayer. Each is run once with nothing around
it, and once by `vaultlayer run`, where its machine is killed twice at random moments (SIGKILL of every
process of it). What both have left is compared: weights and optimizer state tensor by tensor, bit by bit;
metrics and text logs byte by byte. Equal weights alone prove nothing:
a seeded script that starts at zero ends equal too. So exactness is claimed only for tiers A and B, where
the job's own log shows from which step each restart went on.

* *steps run again*: of the steps that the dead machine had made, those beyond the resumed one, for each kill.
  Ghost replay counts them on the dead machine's disk; elsewhere the last step told counts, and `?` means that
  none was told beyond the resumed one, or that the row was run before the ghost counted.
* *verified*: how many of the values that the dead run had logged beyond the snapshot came again, bit for
  bit, after each restart.
* *none*: the script writes nothing of that kind. A script without a seed cannot be compared with another
  run: there, every line that a dead machine had written must stand in the end where it stood.

The scripts are in `tests/matrix/scripts`; `make test-matrix` runs those that a merge runs, `MATRIX=all make
test-matrix` all of them, `MATRIX=vae,ppo make test-matrix` the named ones. `MATRIX_SEED` moves the kills.
"""


def page(rows: list[dict[str, Any]]) -> str:
    """Give the whole page."""
    exact = [row for row in rows if _is_exact(row)]
    table = [_cells(HEADS), _cells(["---"] * len(HEADS)), *(_line(row) for row in rows)]
    counted = f"{len(exact)} of {len(rows)} scripts resumed exactly, twice each."
    short = [f"* `{row['name']}`: {'; '.join(row['problems'])}" for row in rows if row["problems"]]
    shortfalls = ["", "## What falls short", "", *short] if short else []
    return "\n".join([HEAD, counted, "", *table, *shortfalls, ""])


def _is_exact(row: dict[str, Any]) -> bool:
    return not row["problems"] and row["tier"] in {"A", "B"}


def _line(row: dict[str, Any]) -> str:
    again = " + ".join(_again(kill) for kill in row["kills"]) or "?"
    columns = [row["columns"].get(name, "not compared") for name in COLUMNS]
    verified = ", ".join(row["verified"]) or "-"
    return _cells([f"`{row['name']}`", row["holds"], row["tier"] or "?", *columns, again, verified])


def _cells(words: Sequence[str]) -> str:
    return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"


def _again(kill: dict[str, Any]) -> str:
    last, resumed = kill["last_step"], kill["resumed_step"] or 0
    if last is None or last < resumed:
        return "?"
    return f"{last - resumed} of {last}"


def write() -> None:
    """Write the page."""
    rows = json.loads((DOCS / "resume-matrix.json").read_bytes())
    (DOCS / "resume-matrix.md").write_text(page(rows))


if __name__ == "__main__":
    write()
