"""docs/simulators.md names every fault, verb and knob that a simulator knows."""

import re
from pathlib import Path

import msgspec
import pytest

from vaultlayer_actors.simulator.faults import AFTER, BEFORE
from vaultlayer_actors.simulator.machine import Knobs

PAGE = (Path(__file__).parents[2] / "docs" / "simulators.md").read_text()
SERVER = Path(__file__).parents[2] / "actors" / "vaultlayer_actors" / "simulator" / "server.py"


def test_every_fault_is_named() -> None:
    told = PAGE.split("**Kinds of faults.**")[1].split("**Verbs.**")[0]
    assert set(re.findall(r"`([a-z0-9_]+)`", told)) - {"value"} == BEFORE | AFTER


@pytest.mark.parametrize("field", msgspec.structs.fields(Knobs), ids=lambda field: field.name)
def test_every_knob_is_told_with_its_default(field: msgspec.structs.FieldInfo) -> None:
    words = {0.0: "0", 1.0: "1", "": ""}
    default = "false" if field.default is False else words[field.default]
    assert re.search(rf"^\| `{field.name}` \| {default} ?\| ", PAGE, re.MULTILINE)


def test_every_verb_is_named() -> None:
    known = re.search(r"machines/<id>/<verb>\s+(.*?);", SERVER.read_text())
    assert known is not None
    assert all(f"`{verb}`" in PAGE for verb in known[1].split())
