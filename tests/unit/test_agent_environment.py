"""The script's command and environment."""

import os
import sys
from pathlib import Path

import pytest

from vaultlayer.errors import CommandError
from vaultlayer_agent import environment as en

JOB = "jabcdefghj"


def environment(**given: object) -> dict[str, str]:
    values: dict[str, object] = {
        "base": {"PATH": "/bin"},
        "user": {},
        "forced": {"VAULTLAYER_JOB": JOB},
        "job": JOB,
        "pins": en.Pins(threads=4),
        "hooks": None,
    }
    return en.script_environment(**(values | given))  # type: ignore[arg-type]


def test_nothing_of_the_agents_own_reaches_the_script():
    base = en.machine_base(
        {
            "PYTHONPATH": "/agent",
            "VIRTUAL_ENV": "/agent/venv",
            "VAULTLAYER_HOME": "/secret",
            "VAULTLAYER_INSTANCE": "vl-x-a1",
            "HOME": "/root",
        }
    )
    assert base == {"VAULTLAYER_INSTANCE": "vl-x-a1", "HOME": "/root"}


def test_the_agents_virtual_environment_is_taken_off_the_path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "prefix", "/agent/venv")
    assert en.machine_base({"PATH": "/agent/venv/bin:/usr/bin"}) == {"PATH": "/usr/bin"}


def test_the_seed_of_hashes_is_the_same_in_every_attempt_and_another_in_another_job():
    seed = environment()["PYTHONHASHSEED"]
    assert seed == environment(base={"PATH": "/other"})["PYTHONHASHSEED"]
    assert seed != environment(job="jzzzzzzzzz")["PYTHONHASHSEED"]
    assert 0 <= int(seed) < 2**32


def test_what_the_user_set_wins_over_the_pins_and_the_pins_over_the_machine():
    env = environment(base={"OMP_NUM_THREADS": "64"}, user={"PYTHONHASHSEED": "0"})
    assert env["OMP_NUM_THREADS"] == "4"
    assert env["PYTHONHASHSEED"] == "0"


def test_the_checkpoint_directory_is_ours_only_while_the_user_has_none():
    forced = {"VAULTLAYER_CHECKPOINT_DIR": "/job/checkpoints", "VAULTLAYER_JOB": JOB}
    user = {"VAULTLAYER_CHECKPOINT_DIR": "/mine", "VAULTLAYER_JOB": "stranger"}
    assert environment(forced=forced)["VAULTLAYER_CHECKPOINT_DIR"] == "/job/checkpoints"
    env = environment(forced=forced, user=user)
    assert env["VAULTLAYER_CHECKPOINT_DIR"] == "/mine"
    assert env["VAULTLAYER_JOB"] == JOB


def test_the_hooks_stand_in_front_of_the_users_own_path():
    assert environment(hooks=Path("/h"))["PYTHONPATH"] == "/h"
    env = environment(hooks=Path("/h"), user={"PYTHONPATH": "/mine"})
    assert env["PYTHONPATH"] == f"/h{os.pathsep}/mine"


@pytest.mark.parametrize(
    ("command", "threads"),
    [
        (["python", "train.py"], 8),
        (["torchrun", "--nproc_per_node=2", "train.py"], 0),
        (["/opt/bin/accelerate", "launch", "train.py"], 0),
        (["python", "-m", "torch.distributed.run", "train.py"], 0),
    ],
)
def test_threads_are_left_alone_under_launchers(command: list[str], threads: int):
    assert en.choose_threads(command, 8) == threads


def test_pins_travel_with_a_checkpoint_and_nonsense_is_no_pin():
    assert en.pins_of(en.Pins(threads=6).as_meta()) == en.Pins(threads=6)
    assert en.pins_of(en.Pins().as_meta()) == en.Pins()
    assert en.pins_of({}) is None
    assert en.pins_of({"pin_threads": "-1"}) is None


def test_resume_args_are_appended_only_when_there_is_something_to_resume():
    template = "--resume {latest} --dir={latest_dir} --at {step} 'two words'"
    assert en.script_command(["t"], template, None) == ["t"]
    resume = en.Resume(path=Path("/w/out dir/ckpt-7"), step=7)
    assert en.script_command(["t"], template, resume) == [
        "t", "--resume", "/w/out dir/ckpt-7", "--dir=/w/out dir", "--at", "7", "two words",
    ]  # fmt: skip


@pytest.mark.parametrize("template", ["--resume '{latest}", "--resume {newest}", "{"])
def test_a_template_that_cannot_be_used_is_said_so(template: str):
    with pytest.raises(CommandError):
        en.script_command(["t"], template, en.Resume(path=Path("/w/c")))


def test_a_path_with_spaces_and_braces_stays_one_word():
    resume = en.Resume(path=Path("/w/my runs/{a} 'b'/step 3.pt"), step=3)
    words = en.script_command(["t"], "--resume {latest} --in '{latest_dir}/x y' --n={step}", resume)
    assert words[1:] == [
        "--resume",
        "/w/my runs/{a} 'b'/step 3.pt",
        "--in",
        "/w/my runs/{a} 'b'/x y",
        "--n=3",
    ]


def test_the_directory_for_checkpoints_is_ours_only_while_the_user_names_none():
    def made(user: dict[str, str]) -> str:
        forced = {"CHECKPOINT_DIR": "/w/checkpoints"}
        env = en.script_environment(
            base={}, user=user, forced=forced, job="j", pins=en.Pins(), hooks=None
        )
        return env["CHECKPOINT_DIR"]

    assert made({}) == "/w/checkpoints"
    assert made({"CHECKPOINT_DIR": "/mine"}) == "/mine"
