"""What is sent of a working directory, and when it is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from vaultlayer.errors import DiskError, InputError, WorkdirTooLargeError
from vaultlayer.settings import Home
from vaultlayer_cli import workdir as module
from vaultlayer_cli.ignore import Ignored
from vaultlayer_cli.workdir import scan

MB = 1_000_000


def make(top: Path, *names: str, size_b: int = 1) -> None:
    for name in names:
        path = top / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size_b)


def sent(top: Path) -> set[str]:
    return {file.name for file in scan(top, max_b=MB).files if file.kind != "dir"}


def test_git_environments_and_caches_are_never_sent(tmp_path: Path) -> None:
    make(tmp_path, "a.py", ".git/config", "p/__pycache__/a.pyc", "b.pyc", ".venv/x", "p/b.py")
    make(tmp_path, "myenv/pyvenv.cfg", "myenv/lib/x.py", "node_modules/x/y.js")
    assert sent(tmp_path) == {"a.py", "p/b.py"}


def test_gitignore_is_obeyed_also_in_folders_below(tmp_path: Path) -> None:
    make(
        tmp_path,
        "a.py",
        "a.log",
        "data/x.bin",
        "p/keep.txt",
        "p/drop.txt",
        "p/q/drop.txt",
        "drop.txt",
    )
    (tmp_path / ".gitignore").write_text("*.log\n/data/\n")
    (tmp_path / "p" / ".gitignore").write_text("drop.txt\n")
    assert sent(tmp_path) == {"a.py", ".gitignore", "p/.gitignore", "p/keep.txt", "drop.txt"}


def test_vaultlayerignore_wins_over_gitignore_in_both_directions(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "data/x.bin", "big.bin")
    (tmp_path / ".gitignore").write_text("data/\n")
    (tmp_path / ".vaultlayerignore").write_text("!data/\nbig.bin\n.*ignore\n")
    assert sent(tmp_path) == {"a.py", "data/x.bin"}


def test_rules_of_the_repository_above_hold_in_a_folder_of_it(tmp_path: Path) -> None:
    make(
        tmp_path, ".git/", "examples/gpt/train.py", "examples/gpt/model.ckpt", "examples/gpt/out/x"
    )
    (tmp_path / ".gitignore").write_text("*.ckpt\n/examples/gpt/out/\n")
    assert sent(tmp_path / "examples" / "gpt") == {"train.py"}


def test_whoever_stands_in_an_ignored_folder_gets_what_is_in_it(tmp_path: Path) -> None:
    make(tmp_path, ".git/", "runs/one/train.py", "runs/one/a.log")
    (tmp_path / ".gitignore").write_text("runs/\n*.log\n")
    assert "train.py" in sent(tmp_path / "runs" / "one")


def test_empty_folders_and_links_are_kept_as_what_they_are(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "logs/")
    (tmp_path / "b.py").symlink_to("a.py")
    (tmp_path / "dangling").symlink_to("/nowhere")
    kinds = {file.name: file.kind for file in scan(tmp_path, max_b=MB).files}
    assert kinds == {"a.py": "file", "logs": "dir", "b.py": "symlink", "dangling": "symlink"}


def test_our_own_home_below_the_working_directory_is_not_sent(tmp_path: Path) -> None:
    make(tmp_path, "a.py", ".vl/keys/vault.sealed")
    home = Home(config=tmp_path / ".vl", state=tmp_path / ".vl")
    assert {f.name for f in scan(tmp_path, max_b=MB, home=home).files} == {"a.py"}


def test_a_large_directory_is_refused_and_its_largest_entries_are_named(tmp_path: Path) -> None:
    make(tmp_path, "a.py")
    make(tmp_path, "data/x.bin", "data/y.bin", size_b=600)
    make(tmp_path, "model.bin", size_b=300)
    with pytest.raises(WorkdirTooLargeError) as caught:
        scan(tmp_path, max_b=1000)
    assert caught.value.why.startswith("largest: data/ 1.2 KB, model.bin 300 B")
    assert ".vaultlayerignore" in caught.value.mend


def test_too_many_files_are_refused_before_all_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ENTRIES_MAX", 10)
    make(tmp_path, *(f"cache/{n}" for n in range(20)))
    with pytest.raises(WorkdirTooLargeError, match="more than 10 files") as caught:
        scan(tmp_path, max_b=MB)
    assert "cache" in caught.value.why


def test_what_is_no_directory_is_told(tmp_path: Path) -> None:
    make(tmp_path, "file")
    for name in ("file", "absent"):
        with pytest.raises(DiskError):
            scan(tmp_path / name, max_b=MB)


def test_a_pattern_that_is_none_names_its_file(tmp_path: Path) -> None:
    make(tmp_path, "a.py")
    (tmp_path / ".vaultlayerignore").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="vaultlayerignore"):
        scan(tmp_path, max_b=MB)


def test_the_reason_that_leaves_a_file_out_can_be_told(tmp_path: Path) -> None:
    make(tmp_path, "build/train.py", "train.py")
    (tmp_path / ".gitignore").write_text("build/\n")
    ignored = Ignored(tmp_path)
    assert ignored.why_not_reached("train.py") is None
    assert "gitignore" in (ignored.why_not_reached("build/train.py") or "")


def test_the_file_that_the_output_goes_into_is_not_sent(tmp_path: Path) -> None:
    make(tmp_path, "a.py", "old.txt")
    program = (
        "import sys; from pathlib import Path; from vaultlayer_cli.workdir import scan\n"
        "print('first', flush=True)\n"
        f"print(sorted(scan(Path({str(tmp_path)!r}), max_b=10**6).names), file=sys.stderr)"
    )
    with (tmp_path / "log.txt").open("w") as log:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=log, stderr=subprocess.PIPE, check=True
        )
    assert done.stderr.decode().strip() == "['a.py', 'old.txt']"
