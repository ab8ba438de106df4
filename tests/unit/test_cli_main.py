"""The program as a process: help, exit statuses, errors for people and for programs."""

import ast
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import vaultlayer_cli
from vaultlayer import errors
from vaultlayer_cli.app import GROUPS, load
from vaultlayer_cli.errors_text import error_text
from vaultlayer_cli.exit_codes import error_rows

COMMANDS = [name for group in GROUPS.values() for name in group]
START_S_MAX = 0.2
"""Processor time of `vaultlayer --help`, which neighbours on the machine do not change much."""


def vaultlayer(
    *arguments: str, cwd: Path, code: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    program = code or "from vaultlayer_cli.main import main; main()"
    env = {**os.environ, "VAULTLAYER_HOME": str(cwd / "home"), **environ}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_in_its_help_what_the_list_says(name: str) -> None:
    listed = next(group[name] for group in GROUPS.values() if name in group)
    assert (load(name).help or "").splitlines()[0] == listed


def test_help_lists_every_command(tmp_path: Path) -> None:
    said = vaultlayer("--help", cwd=tmp_path)
    assert said.returncode == 0
    words = said.stdout.split()
    assert [name for name in COMMANDS if name not in words] == []


def test_no_argument_at_all_is_help(tmp_path: Path) -> None:
    said = vaultlayer(cwd=tmp_path)
    assert (said.returncode, "Usage: vaultlayer" in said.stdout) == (0, True)


def test_help_starts_quickly(tmp_path: Path) -> None:
    took: list[float] = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        vaultlayer("--help", cwd=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < START_S_MAX


def test_help_imports_nothing_that_is_slow(tmp_path: Path) -> None:
    code = (
        "import sys; from vaultlayer_cli.main import run; run(['--help']); "
        "print('LOADED', *sorted({'nats', 'rich', 'anyio', 'structlog', 'obstore', 'psutil', 'nacl'} "
        "& set(sys.modules)))"
    )
    assert vaultlayer(cwd=tmp_path, code=code).stdout.splitlines()[-1] == "LOADED"


def test_no_module_of_the_program_imports_heavy_things_before_a_command_is_chosen() -> None:
    light = {"main", "app", "exit_codes", "errors_text", "terminal", "options"}
    heavy = {"anyio", "rich", "nats", "psutil", "pathspec"}
    for name in light:
        tree = ast.parse((Path(vaultlayer_cli.__file__ or "").parent / f"{name}.py").read_text())
        for node in tree.body:
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {module.split(".")[0] for module in modules} & heavy, name


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom vaultlayer_cli.main import main; main()"
    said = vaultlayer("ps", cwd=tmp_path, code=code)
    assert said.returncode == 69
    assert "needs typer" in said.stderr
    assert "pip install 'vaultlayer[all]'" in said.stderr
    assert "Traceback" not in said.stderr


DEFECT = (
    "import vaultlayer_cli.app as app\n"
    "def invoke(arguments): raise KeyError('oops')\n"
    "app.invoke = invoke\n"
    "from vaultlayer_cli.main import main; main()"
)


def test_a_defect_of_ours_is_called_one_and_its_trace_is_shown_when_asked_for(
    tmp_path: Path,
) -> None:
    said = vaultlayer("ps", cwd=tmp_path, code=DEFECT)
    assert said.returncode == 70
    assert "KeyError: 'oops'" in said.stderr
    assert "Traceback" not in said.stderr
    assert "Traceback" in vaultlayer("ps", cwd=tmp_path, code=DEFECT, VAULTLAYER_LOG="DEBUG").stderr


USAGE = [
    (("nope",), 64, "flag-bad"),
    (("verson",), 64, "flag-bad"),
    (("show",), 64, "flag-bad"),
    (("ps", "--nope"), 64, "flag-bad"),
    (("run",), 64, "command-bad"),
    (("run", "--gpu", "A101", "python", "x.py"), 64, "gpu-unknown"),
    (("run", "python", "x.py"), 66, "script-missing"),
    (("run", "--env", "1=2", "true"), 66, "env-bad"),
    (("run", "--env-file", "absent", "true"), 66, "env-bad"),
    (("run", "--deadline", "soon", "true"), 64, "flag-bad"),
    (("run", "--max-cost", "0", "true"), 64, "flag-bad"),
    (("run", "--resume-args", "{x}", "true"), 64, "flag-bad"),
    (("run", "--provider", "nimbus", "true"), 64, "flag-bad"),
    (("drill", "x", "explode"), 64, "flag-bad"),
    (("ps",), 78, "not-initialised"),
    (("up",), 78, "not-initialised"),
]


@pytest.mark.parametrize(("arguments", "status", "code"), USAGE, ids=lambda v: str(v))
def test_a_mistake_has_its_status_its_code_and_a_cure(
    arguments: tuple[str, ...], status: int, code: str, tmp_path: Path
) -> None:
    said = vaultlayer(*arguments, cwd=tmp_path)
    assert said.returncode == status
    assert said.stderr.startswith("error: ")
    assert f"[{code}]" in said.stderr
    assert said.stdout == ""
    assert not (tmp_path / "home").exists(), "nothing may be made on the way to an error"


@pytest.mark.parametrize(
    "arguments",
    [("ps", "--json"), ("show", "--nope", "--json"), ("run", "--json", "python", "x.py")],
)
def test_a_program_gets_the_error_as_one_line_on_stdout(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    said = vaultlayer(*arguments, cwd=tmp_path)
    assert said.returncode != 0
    assert said.stderr == ""
    body = json.loads(said.stdout)
    assert set(body) == {"code", "what", "why", "mend", "retryable"}


def test_json_behind_the_command_belongs_to_the_command(tmp_path: Path) -> None:
    said = vaultlayer("run", "python", "x.py", "--json", cwd=tmp_path)
    assert (said.stdout, said.returncode) == ("", 66)


def test_a_broken_configuration_names_file_line_and_field(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.toml").write_text("[bus]\nstreams = 4\nurl = 'x'\n")
    said = vaultlayer("ps", cwd=tmp_path)
    assert said.returncode == 78
    assert "config.toml, line 3" in said.stderr
    assert "bus.url" in said.stderr


def test_init_asks_nothing_with_yes_and_changes_nothing_the_second_time(tmp_path: Path) -> None:
    first = vaultlayer("init", "--yes", "--json", cwd=tmp_path)
    path = Path(json.loads(first.stdout)["config"])
    assert json.loads(first.stdout)["written"] is True
    path.write_text(path.read_text() + "\n[run]\nkeep_last = 7\n")
    before = path.read_text()
    second = vaultlayer("init", "--yes", "--json", cwd=tmp_path)
    assert json.loads(second.stdout)["written"] is False
    assert path.read_text() == before


def test_init_leaves_private_directories_private(tmp_path: Path) -> None:
    vaultlayer("init", "--yes", cwd=tmp_path)
    modes = [(tmp_path / "home" / name).stat().st_mode & 0o777 for name in ("keys", "creds")]
    assert modes == [0o700, 0o700]


def test_without_a_broker_the_answer_is_how_to_start_one(tmp_path: Path) -> None:
    vaultlayer("init", "--yes", cwd=tmp_path)
    said = vaultlayer("ps", cwd=tmp_path)
    assert said.returncode == 69
    assert "vaultlayer up" in said.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    env = {**os.environ, "VAULTLAYER_HOME": str(tmp_path)}
    code = "from vaultlayer_cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 141


BROKEN_CONNECTION = """
import socket
from vaultlayer_cli import app, main

def build():
    def command(**_):
        one, other = socket.socketpair()
        other.close()
        try:
            one.send(b"x")
        except BrokenPipeError:
            raise SystemExit(1)  # as the library does
    return command

app.build = build
main.main(["ps"])
"""


def test_a_connection_that_breaks_is_not_taken_for_a_reader_that_went_away(tmp_path: Path) -> None:
    said = vaultlayer(cwd=tmp_path, code=BROKEN_CONNECTION)
    assert said.returncode == 70
    assert "BrokenPipeError" in said.stderr


def test_version_is_told_for_people_and_programs(tmp_path: Path) -> None:
    assert vaultlayer("--version", cwd=tmp_path).stdout.startswith("vaultlayer ")
    assert set(json.loads(vaultlayer("version", "--json", cwd=tmp_path).stdout)) == {
        "version",
        "python",
    }


def test_an_error_is_told_with_what_why_and_mend() -> None:
    body = errors.FlagError("it is\nwrong", why="because", mend="do this").body()
    assert error_text(body, colour=False) == (
        "error: it is\n       wrong  [flag-bad]\n  why:  because\n  mend: do this\n"
    )
    assert "\x1b[" in error_text(body, colour=True)


def test_every_status_lies_where_scripts_have_none() -> None:
    assert all(64 <= status <= 78 for status, _, _ in error_rows())
    assert len({code for _, code, _ in error_rows()}) == len(error_rows()) > 30
