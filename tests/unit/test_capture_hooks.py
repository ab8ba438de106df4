"""The hooks' own files: small, of the standard library, harmless to the script."""

import ast
import os
import runpy
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from framework_files import trainer_files, write, write_trainer
from vaultlayer_agent.capture import hook_path
from vaultlayer_agent.capture.complete import find_units, judge_unit
from vaultlayer_agent.capture.scan import FileReader, scan
from vaultlayer_agent.capture.tree import below

HOOKS = hook_path()
FILES = sorted(HOOKS.rglob("*.py"))
START_MOST_S = 0.015


def run(code: str, cwd: Path, *paths: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    search = os.pathsep.join(str(path) for path in (HOOKS, *paths))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": search, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_hooks_are_where_the_agent_looks() -> None:
    assert (HOOKS / "sitecustomize.py") in FILES
    assert len(FILES) >= 6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_hook_file_is_python_3_9_and_of_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            assert (
                top in sys.stdlib_module_names
                or top in ("vaultlayer_hooks", "_frozen_importlib_external")
                # The script's own torch, and only once the script has imported it.
                or (top == "torch" and node not in tree.body)
            )


def test_the_users_own_sitecustomize_runs_after_ours(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.users_own = __file__")
    done = run(
        "import sys, sitecustomize; print(sys.users_own, sitecustomize.__file__);"
        "print(type(sys.meta_path[0]).__module__)",
        tmp_path,
        tmp_path,
        VAULTLAYER_RESUME="1",
    )
    own = str(tmp_path / "sitecustomize.py")
    assert done.stdout.split() == [own, own, "vaultlayer_hooks.finder"], done.stderr


def test_an_error_in_the_users_sitecustomize_is_reported_as_ever(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise RuntimeError('mine')")
    done = run("print('runs')", tmp_path, tmp_path, VAULTLAYER_RESUME="1")
    bare = subprocess.run(
        [sys.executable, "-c", "print('runs')"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (
        bare.stdout,
        bare.stderr,
        bare.returncode,
    )
    assert "mine" in done.stderr


def test_switched_off_they_leave_nothing_behind(tmp_path: Path) -> None:
    code = "import sys; print([name for name in sys.modules if 'vaultlayer' in name])"
    assert run(code, tmp_path, VAULTLAYER_RESUME="1").stdout.strip() != "[]"
    assert run(code, tmp_path, VAULTLAYER_RESUME="1", VAULTLAYER_HOOKS="off").stdout.strip() == "[]"
    assert run(code, tmp_path).stdout.strip() == "[]"


def test_a_socket_that_nobody_listens_on_does_not_matter(tmp_path: Path) -> None:
    done = run("print('runs')", tmp_path, VAULTLAYER_EVENTS=str(tmp_path / "none.sock"))
    assert (done.stdout, done.stderr) == ("runs\n", "")


def test_a_framework_that_our_patch_does_not_fit_still_imports(tmp_path: Path) -> None:
    """A `torch` without `save`, a Trainer without `train`: the patch fails, the script does not."""
    write(
        tmp_path,
        {
            "torch.py": b"x = 1",
            "transformers/__init__.py": b"",
            "transformers/trainer.py": b"y = 2",
        },
    )
    code = "import torch, transformers.trainer; print(torch.x, transformers.trainer.y)"
    done = run(code, tmp_path, tmp_path, VAULTLAYER_RESUME="1")
    assert (done.stdout, done.stderr) == ("1 2\n", "")


def test_a_module_is_patched_when_it_is_imported_and_keeps_its_loader(tmp_path: Path) -> None:
    body = (
        b"import types\nserialization = types.SimpleNamespace()\n"
        b"def save(obj, f): open(f, 'w').write(obj)\ndef load(f): pass\n"
    )
    write(tmp_path, {"torch.py": body})
    code = (
        "import torch; print(torch.save.vaultlayer, torch.save is torch.serialization.save,"
        "type(torch.__loader__).__name__, 'exec_module' in vars(torch.__loader__));"
        "torch.save('content', 'out.pt')"
    )
    done = run(code, tmp_path, tmp_path, VAULTLAYER_RESUME="1")
    assert done.stdout.split() == ["True", "True", "SourceFileLoader", "False"], done.stderr
    assert (tmp_path / "out.pt").read_text() == "content"


def test_a_script_that_imports_nothing_starts_almost_as_fast(tmp_path: Path) -> None:
    def start_s(*, hooked: bool) -> float:
        begun = time.perf_counter()
        run(
            "pass",
            tmp_path,
            **({"VAULTLAYER_RESUME": "1"} if hooked else {"VAULTLAYER_HOOKS": "off"}),
        )
        return time.perf_counter() - begun

    pairs = [start_s(hooked=True) - start_s(hooked=False) for _ in range(9)]
    assert statistics.median(pairs) < START_MOST_S, pairs


def is_complete(path: Path, step: int, world: int) -> bool:
    return load_rules()["is_complete"](str(path), step, world)


def load_rules() -> dict[str, Any]:
    """The hooks are no package of ours, so their file is run by its path."""
    return runpy.run_path(str(HOOKS / "vaultlayer_hooks/complete.py"))


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("shards", [1, 2])
def test_hook_and_agent_agree_on_what_is_complete(tmp_path: Path, ranks: int, shards: int) -> None:
    files = trainer_files(30, ranks=ranks, shards=shards)
    variants = [files]
    variants += [{name: data for name, data in files.items() if name != gone} for gone in files]
    variants += [files | {name: data[:-5]} for name, data in files.items() if name != "config.json"]
    variants += [files | {"checkpoint-is-incomplete.txt": b""}]
    for number, variant in enumerate(variants):
        top = tmp_path / str(number)
        unit = write(top / "checkpoint-30", variant)
        tree = scan(top)
        ours = judge_unit(
            find_units(tree)["checkpoint-30"],
            "checkpoint-30",
            below(tree, "checkpoint-30"),
            FileReader(unit),
            world=ranks,
        )
        theirs = is_complete(unit, 30, ranks)
        # The agent also looks at the end of training_args.bin, which no resume reads.
        if variant.get("training_args.bin") == files["training_args.bin"] or not ours.why:
            assert ours.complete == theirs, (sorted(variant), ours.why)


def test_the_last_complete_checkpoint_is_not_the_highest_number(tmp_path: Path) -> None:
    write_trainer(tmp_path, 9)
    write_trainer(tmp_path, 100)
    write(tmp_path / "checkpoint-110", {"model.safetensors": b"half"})
    found = load_rules()["last_complete"](str(tmp_path))
    assert Path(str(found)).name == "checkpoint-100"
