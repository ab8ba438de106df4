"""The look at the command before anything is spent."""

from pathlib import Path

import pytest

from vaultlayer.errors import CommandError, ScriptMissingError
from vaultlayer_cli.script import check_command, script_of
from vaultlayer_cli.workdir import Workdir, scan


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    (tmp_path / "train.py").write_text("pass")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "fit.py").write_text("pass")
    (tmp_path / "go.sh").write_text("#!/bin/sh\n")
    (tmp_path / "go.sh").chmod(0o755)
    (tmp_path / "secret.py").write_text("pass")
    (tmp_path / ".gitignore").write_text("secret.py\n")
    return scan(tmp_path, max_b=10_000)


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ("python train.py --lr 1", "train.py"),
        ("python3.11 -u -X dev train.py", "train.py"),
        ("/usr/bin/python -W ignore a/train.py", "a/train.py"),
        ("python -m pkg.train x.py", None),
        ("python -c pass x.py", None),
        ("python -um pkg x.py", None),
        ("python data.csv", None),
        ("torchrun --nproc_per_node 2 train.py", "train.py"),
        ("accelerate launch --config_file c.yaml train.py", "train.py"),
        ("bash go.sh train.py", "go.sh"),
        ("bash -c train.py", None),
        ("uv run train.py", "train.py"),
        ("make train.py", None),
        ("python", None),
    ],
)
def test_the_script_of_a_known_interpreter_is_found(command: str, script: str | None) -> None:
    assert script_of(command.split()) == script


@pytest.mark.parametrize(
    "command",
    [
        "python train.py",
        "python -m json.tool",
        "torchrun --nproc-per-node 2 train.py",
        "bash go.sh",
        "./go.sh",
        "python src/fit.py",
        "nvidia-smi",
        "python -c pass",
        "sh -c nothing.sh",
    ],
)
def test_what_can_run_passes(command: str, workdir: Workdir) -> None:
    check_command(command.split(), workdir)


@pytest.mark.parametrize("command", [[], [""], ["  "]])
def test_an_empty_command_is_refused(command: list[str], workdir: Workdir) -> None:
    with pytest.raises(CommandError) as caught:
        check_command(command, workdir)
    assert caught.value.exit_status == 64


@pytest.mark.parametrize(
    "command",
    ["python absent.py", "torchrun absent.py", "bash absent.sh", "./absent", "./absent.py"],
)
def test_a_script_that_is_not_there_is_refused(command: str, workdir: Workdir) -> None:
    with pytest.raises(ScriptMissingError) as caught:
        check_command(command.split(), workdir)
    assert caught.value.exit_status == 66


def test_a_script_of_that_name_elsewhere_is_named(workdir: Workdir) -> None:
    with pytest.raises(ScriptMissingError) as caught:
        check_command(["python", "fit.py"], workdir)
    assert caught.value.why == "nearest: src/fit.py"


def test_a_script_that_is_left_out_is_refused_with_the_rule(workdir: Workdir) -> None:
    with pytest.raises(ScriptMissingError) as caught:
        check_command(["python", "secret.py"], workdir)
    assert ".gitignore" in caught.value.why
    assert caught.value.mend == "put !secret.py into .vaultlayerignore"


@pytest.mark.parametrize("command", ["train.py", "./train.py"])
def test_a_script_without_its_interpreter_is_refused_with_the_command(
    command: str, workdir: Workdir
) -> None:
    with pytest.raises(CommandError) as caught:
        check_command([command], workdir)
    assert caught.value.mend == f"vaultlayer run python {command}"


def test_an_absolute_script_is_only_looked_for(workdir: Workdir, tmp_path: Path) -> None:
    check_command(["python", str(tmp_path / "train.py")], workdir)
    with pytest.raises(ScriptMissingError):
        check_command(["python", "/nowhere/train.py"], workdir)
