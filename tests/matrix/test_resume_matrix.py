"""Scripts as people write them, killed twice each through the real product: they must not notice.

`MATRIX=all` runs every row, a list of names those, anything else the rows that every merge runs.
`MATRIX_RESULTS` names a JSON file into which the results are written, row by row.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from matrix.place import Place
from matrix.rows import ROWS, Row
from matrix.trial import Result, Trial

pytestmark = [pytest.mark.matrix, pytest.mark.train, pytest.mark.timeout(700)]
SEED = int(os.environ.get("MATRIX_SEED", "1"))
CHOICE = os.environ.get("MATRIX", "quick")


def chosen() -> list[Row]:
    """The rows that this run is about."""
    if CHOICE == "all":
        return list(ROWS)
    names = CHOICE.split(",")
    return [row for row in ROWS if (row.quick if CHOICE == "quick" else row.name in names)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("m"))
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.mark.parametrize("row", chosen(), ids=lambda row: row.name)
def test_a_script_killed_twice_ends_as_if_nothing_had_happened(
    place: Place, row: Row, record_property: Callable[[str, object], None]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        bare = pool.submit(place.run_bare, row)
        result = Trial(place, row, SEED).run(bare.result)
    record_property("result", msgspec.json.encode(result).decode())
    print(result)
    keep(result)
    assert not result.problems, result


def keep(result: Result) -> None:
    """Write the result into the file of results, when one is named."""
    if not (name := os.environ.get("MATRIX_RESULTS")):
        return
    path = Path(name)
    rows = msgspec.json.decode(path.read_bytes(), type=list[Result]) if path.is_file() else []
    rows = [row for row in rows if row.name != result.name] + [result]
    order = [row.name for row in ROWS]
    rows.sort(key=lambda row: order.index(row.name))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
