"""What a process does not import when it starts."""

import importlib
import subprocess
import sys

import pytest

from vaultlayer.imports import left_out

PROBE = "import sys, {module}; print(*sorted({{'aiohttp', 'rich', 'aioboto3'}} & set(sys.modules)))"


@pytest.mark.parametrize(
    "module", ["vaultlayer_agent.main", "vaultlayer_actors.embedded", "vaultlayer_cli.commands.run"]
)
def test_no_process_starts_with_what_it_may_never_need(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_what_was_left_out_can_be_imported_afterwards() -> None:
    sys.modules.pop("colorsys", None)
    with left_out("colorsys"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("colorsys")
    found = importlib.import_module("colorsys")
    with left_out("colorsys"):
        assert importlib.import_module("colorsys") is found
