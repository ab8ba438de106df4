"""The look at a script's text: which file a command runs, the tier to expect, the flag to suggest."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from matrix.rows import ROWS, Row
from vaultlayer_cli.commands.run import tell_expected
from vaultlayer_cli.look.command import shell_script_of, target_in_shell, target_of
from vaultlayer_cli.look.declared import declared_flags
from vaultlayer_cli.look.expect import Choice, Expected, expect
from vaultlayer_cli.look.facts import facts_of
from vaultlayer_cli.look.flags import suggest
from vaultlayer_cli.look.read import look
from vaultlayer_cli.submit import Wish
from vaultlayer_cli.workdir import scan

LOOP = """
import torch
for step in range(9):
    loss.backward()
    optimizer.step()
"""
TRAINER = """
from transformers import Trainer, TrainingArguments
Trainer(args=TrainingArguments(out{more})).train()
"""

KERAS_ON_TORCH = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
model.fit(x)
"""


def expected(text: str, **choice: Any) -> Expected:
    return expect(facts_of({"train.py": text}), Choice(**choice))


# Scripts as people write them -----------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_expected_of_a_matrix_script_is_what_it_resumes_as(row: Row) -> None:
    found = look(["python", row.script.name], row.script.parent, Choice())
    assert found.tier in list(row.tiers), found


def test_the_flag_of_a_matrix_script_is_suggested_as_it_would_be_typed() -> None:
    scripts = ROWS[0].script.parent
    found = look(["python", "checkpoint_dict.py"], scripts, Choice(hooks=False))
    assert found.tier == "D"
    assert found.resume_args == "--resume {latest}"
    assert found.lines[1] == "it has a flag that looks right: --resume-args '--resume {latest}'"
    given = look(["python", "checkpoint_dict.py"], scripts, Choice(hooks=False, resume_args=True))
    assert (given.tier, given.resume_args, given.lines) == ("C", "", [])


# Tiers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "choice", "tier"),
    [
        (LOOP, {}, "B"),
        (LOOP, {"no_ghost": "--snapshot-every off"}, "E"),
        (LOOP, {"hooks": False}, "E"),
        (LOOP + "    torch.save(m, 'm.pt')", {"hooks": False}, "D"),
        (LOOP + "    torch.save(m, 'm.pt')", {"hooks": False, "resume_args": True}, "C"),
        (LOOP + "torch.save(m, 'm.pt')", {"hooks": False}, "E"),
        (LOOP + "    keep()\ndef keep(): torch.save(m, 'm.pt')", {"hooks": False}, "D"),
        (LOOP + "torch.multiprocessing.spawn(f)", {}, "E"),
        (LOOP + "    plt.savefig('a.png')\n    json.dump(a, b)", {"hooks": False}, "E"),
        (TRAINER.format(more=""), {}, "A"),
        (TRAINER.format(more=", save_strategy='steps'"), {}, "A"),
        (TRAINER.format(more=", save_strategy='no'"), {}, "B"),
        (TRAINER.format(more=", save_strategy='no'"), {"no_ghost": "--snapshot-every off"}, "E"),
        (TRAINER.format(more=", save_only_model=True"), {"no_ghost": "--snapshot-every off"}, "C"),
        (TRAINER.format(more=", ignore_data_skip=True"), {}, "B"),
        (TRAINER.format(more=""), {"hooks": False}, "D"),
        ("from trl import GRPOTrainer\nGRPOTrainer(m).train()", {}, "B"),
        (
            "from trl import GRPOTrainer\nGRPOTrainer(m).train()",
            {"no_ghost": "--snapshot-every off"},
            "C",
        ),
        ("import transformers\ntransformers.Trainer(m).train()", {}, "A"),
        ("import lightning as L\nL.Trainer().fit(m)", {}, "B"),
        ("import lightning as L\nL.Trainer().fit(m)", {"no_ghost": "--snapshot-every off"}, "C"),
        ("import keras\nmodel.fit(x)", {}, "C"),
        ("import keras, torch\nmodel.fit(x)", {}, "C"),
        (KERAS_ON_TORCH, {}, "B"),
        (KERAS_ON_TORCH, {"no_ghost": "--snapshot-every off"}, "C"),
        (KERAS_ON_TORCH.replace("torch", "jax"), {}, "C"),
        ("import torch\nfrom torch.func import grad\nfor i in a: w -= grad(f)(w)", {}, "B"),
        ("import torch\nfrom jax import grad\nfor i in a: w -= grad(f)(w)", {}, "E"),
        ("import jax, optax\nfor i in range(3): w = step(w)", {}, "E"),
        (
            "import jax\nimport orbax.checkpoint as ocp\nfor i in a: m.save(i)\nm.restore(3)",
            {},
            "C",
        ),
        ("print('no training here')", {}, ""),
        ("import ultralytics\nultralytics.YOLO().tune()", {}, ""),
        ("import torch\nimport somebodys_engine\nsomebodys_engine.go()", {}, ""),
    ],
)
def test_the_expected_tier(text: str, choice: dict[str, Any], tier: str) -> None:
    assert expected(text, **choice).tier == tier


def test_what_goes_well_or_is_not_known_is_not_told() -> None:
    assert expected(LOOP).lines == []
    assert expected("print(1)").lines == []
    (line,) = expected(LOOP, no_ghost="--snapshot-every off").lines
    assert line.startswith("expected tier E: it saves nothing that a restart could use")
    assert line.endswith("(--snapshot-every off)")


def test_a_script_that_reads_its_own_checkpoint_is_told_from_one_that_waits_for_a_flag() -> None:
    saves = LOOP + "    torch.save(s, 'c.pt')\n"
    own = saves + "s = torch.load('c.pt')\noptimizer.load_state_dict(s['opt'])"
    told = saves + "s = torch.load(args.resume)\noptimizer.load_state_dict(s['opt'])"
    weights = saves + "model.load_state_dict(torch.load('pretrained.pt'))"
    assert expected(own, hooks=False).tier == "C"
    assert expected(told, hooks=False).tier == "D"
    assert expected(weights, hooks=False).tier == "D"


# Flags ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("p.add_argument('--resume', type=str)", "--resume {latest}"),
        ("p.add_argument('--resume', action='store_true')", "--resume"),
        ("p.add_argument('-r', '--resume-from', help='x')", "--resume-from {latest}"),
        (
            "p.add_argument('--resume_from_checkpoint', default=None)",
            "--resume_from_checkpoint {latest}",
        ),
        ("p.add_argument('--ckpt_path')", "--ckpt_path {latest}"),
        ("p.add_argument('--checkpoint-path')", "--checkpoint-path {latest}"),
        ("p.add_argument('--resume_dir')", "--resume_dir {latest_dir}"),
        ("p.add_argument('--resume_step', type=int)", "--resume_step {step}"),
        ("p.add_argument('--start-from', choices=['scratch', 'resume'])", "--start-from resume"),
        ("p.add_argument('--load_checkpoint')\np.add_argument('--resume')", "--resume {latest}"),
        ("p.add_argument('--resume', type=bool)", ""),
        ("p.add_argument('--resume_id', type=str)", ""),
        ("p.add_argument('--checkpoint-dir')", ""),
        ("p.add_argument('--gradient_checkpointing', action='store_true')", ""),
        ("p.add_argument('--checkpointing_steps', type=int)", ""),
        ("p.add_argument('--load_in_8bit', action='store_true')", ""),
        ("p.add_argument('--save-path')", ""),
        ("p.add_argument('resume')", ""),
        ("@click.option('--resume/--no-resume')\ndef f(resume): ...", "--resume"),
        ("@click.option('--resume', is_flag=True)\ndef f(resume): ...", "--resume"),
        ("@app.command()\ndef f(resume_from: Path | None = None): ...", "--resume-from {latest}"),
        ("@app.command()\ndef f(resume: bool = False): ...", "--resume"),
        ("def f(resume: str = ''): ...\ntyper.run(f)", "--resume={latest}"),
        ("def f(resume=None): ...\nfire.Fire(f)", "--resume={latest}"),
        ("def f(resume=None): ...\nf()", ""),
        ("flags.DEFINE_string('restore_path', '', 'x')", "--restore_path={latest}"),
        (
            "@dataclass\nclass A:\n    resume_from_checkpoint: str | None = None",
            "--resume_from_checkpoint {latest}",
        ),
        (
            "init_from = 'scratch'\nexec(open('configurator.py').read())\nok = init_from == 'resume'",
            "--init_from=resume",
        ),
    ],
)
def test_the_flag_that_resumes(text: str, line: str) -> None:
    assert suggest(declared_flags(ast.parse(text))) == line


# Commands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("python train.py --lr 1", "train.py"),
        ("python3.12 -u -W ignore a/train.py", "a/train.py"),
        ("./train.py", "./train.py"),
        ("env A=1 uv run python train.py", "train.py"),
        ("A=1 nohup python train.py", "train.py"),
        ("conda run -n torch python train.py", "train.py"),
        ("torchrun --nproc-per-node 2 train.py --x", "train.py"),
        ("python -m torch.distributed.run --standalone train.py", "train.py"),
        ("accelerate launch --config_file c.yaml train.py", "train.py"),
        ("accelerate launch -m pkg.train", "pkg.train"),
        ("mpirun -np 2 python train.py", "train.py"),
        ("python -um pkg.train --x", "pkg.train"),
    ],
)
def test_the_script_behind_a_command(command: str, found: str) -> None:
    target = target_of(command.split())
    assert target is not None
    assert found in {target.script, target.module}


@pytest.mark.parametrize("command", ["python -c pass", "make train", "python", "env", "nvidia-smi"])
def test_what_is_no_script_is_not_guessed(command: str) -> None:
    assert target_of(command.split()) is None


@pytest.mark.parametrize(
    ("command", "unhooked"),
    [
        ("python -I a.py", True),
        ("python -sE a.py", True),
        ("python -Sm a", True),
        ("python -u a.py", False),
    ],
)
def test_an_interpreter_that_will_not_find_the_hooks_is_noticed(
    command: str, unhooked: bool
) -> None:
    target = target_of(command.split())
    assert target is not None
    assert target.unhooked is unhooked


def test_a_shell_script_is_looked_through() -> None:
    assert shell_script_of(["bash", "-e", "go.sh", "x"]) == "go.sh"
    assert shell_script_of(["python", "go.py"]) is None
    target = target_in_shell(
        "cd x\nexport A=1\npython prepare.py\ntorchrun \\\n  train.py --x 'a b'\necho ok"
    )
    assert target is not None
    assert (target.script, target.arguments) == ("train.py", ("--x", "a b"))


# Files ----------------------------------------------------------------------------------------------


def test_local_imports_are_followed_one_level(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("from engine.loop import go\nimport options\ngo()")
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "loop.py").write_text(LOOP)
    (tmp_path / "options.py").write_text("p.add_argument('--resume')")
    found = look(["python", "train.py"], tmp_path, Choice(no_ghost="--snapshot-every off"))
    assert (found.tier, found.resume_args) == ("E", "--resume {latest}")
    assert look(["python", "train.py"], tmp_path, Choice()).tier == "B"


def test_a_module_is_found_below_src_and_its_siblings_too(tmp_path: Path) -> None:
    (tmp_path / "src" / "pkg").mkdir(parents=True)
    (tmp_path / "src" / "pkg" / "train.py").write_text(
        "from .loop import go\nfrom . import extra\ngo()"
    )
    (tmp_path / "src" / "pkg" / "loop.py").write_text(LOOP)
    (tmp_path / "src" / "pkg" / "extra.py").write_text("this is no python")
    assert look(["python", "-m", "pkg.train"], tmp_path, Choice()).tier == "B"


@pytest.mark.parametrize("text", ["def", "\0", "(" * 2000])
def test_a_text_that_cannot_be_read_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(text)
    assert look(["python", "train.py"], tmp_path, Choice()) == Expected()


def test_a_script_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert look(["python", "train.py"], tmp_path, Choice()) == Expected()
    assert look(["bash", "absent.sh"], tmp_path, Choice()) == Expected()


# Telling --------------------------------------------------------------------------------------------


def test_run_tells_on_stderr_or_as_one_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.py").write_text(LOOP + "p.add_argument('--resume')")
    workdir = scan(tmp_path, max_b=10_000)
    wish = Wish(command=["python", "train.py"], hooks=False)
    tell_expected(wish, workdir, as_json=False)
    said = capsys.readouterr()
    assert said.out == ""
    assert [line[:23] for line in said.err.splitlines()] == [
        "-- expected tier E: it ",
        "-- it has a flag that l",
    ]
    tell_expected(wish, workdir, as_json=True)
    said = capsys.readouterr()
    assert said.err == ""
    found = json.loads(said.out)
    assert (found["type"], found["tier"]) == ("expected", "E")
    assert found["resume_args"] == "--resume {latest}"


def test_an_output_elsewhere_rules_exact_resume_out_and_run_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.py").write_text(LOOP)
    workdir = scan(tmp_path, max_b=10_000)
    inside = Wish(command=["python", "train.py"], outputs=["out", str(tmp_path / "more")])
    tell_expected(inside, workdir, as_json=False)
    assert capsys.readouterr().err == ""
    elsewhere = Wish(command=["python", "train.py"], outputs=["out", "../out"])
    tell_expected(elsewhere, workdir, as_json=False)
    said = capsys.readouterr().err
    assert "expected tier E" in said
    assert "--output ../out lies outside the working directory" in said
