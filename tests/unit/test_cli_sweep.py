"""What a sweep records, and what it makes of a smoke job that has ended."""

import runpy
from pathlib import Path

import pytest

from vaultlayer.driver import Offer
from vaultlayer.errors import ConfigError
from vaultlayer.events import JobSpec
from vaultlayer.job import AttemptState, Job, Outcome
from vaultlayer.settings import parse_settings
from vaultlayer_cli.sweep import play
from vaultlayer_cli.sweep.records import SMOKES, Record, append, read, verdict

QUICK, KILLED, ADAPTER = play.SMOKES
GOOD = {"digest": play.expected_digest(QUICK), "first": 0}


def ended(outcome: str = "succeeded", attempts: int = 1) -> Job:
    offer = Offer(provider="vast", offer_id="o")
    made = {
        number: AttemptState(number=number, incarnation="i", provider="vast", offer=offer)
        for number in range(1, attempts + 1)
    }
    spec = JobSpec(command=["x"])
    return Job(job="j22222222a", spec=spec, outcome=Outcome(outcome), attempts=made)


def record(provider: str, smoke: str, *, passed: bool = True, kind: str = "live", at: float = 1.0):
    return Record(provider=provider, smoke=smoke, kind=kind, passed=passed, at=at)


def test_the_list_of_smoke_jobs_is_the_same_everywhere() -> None:
    assert tuple(smoke.name for smoke in play.SMOKES) == SMOKES


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "home" / "sweeps.jsonl"
    wrote = [record("vast", smoke) for smoke in SMOKES]
    for one in wrote:
        append(path, one)
    assert read(path) == wrote
    assert read(tmp_path / "none") == []


def test_a_line_that_a_crash_cut_off_is_passed_over_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "sweeps.jsonl"
    append(path, record("vast", "quick"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert read(path) == [record("vast", "quick")]
    path.write_bytes(whole[:20] + b"\n" + whole)
    with pytest.raises(ConfigError, match="line 1"):
        read(path)


def test_a_provider_is_validated_when_the_newest_of_every_smoke_passed() -> None:
    done = [record("vast", smoke, at=2.0) for smoke in SMOKES]
    assert verdict(done, "vast") == "live"
    assert verdict(done[:2], "vast") == "failed"
    assert verdict([*done, record("vast", "quick", passed=False, at=3.0)], "vast") == "failed"
    assert verdict([*done, record("vast", "quick", passed=False, at=1.0)], "vast") == "live"
    assert verdict(done, "runpod") == "never"


def test_what_was_simulated_is_never_called_live() -> None:
    simulated = [record("vast", smoke, kind="simulated") for smoke in SMOKES]
    assert verdict(simulated, "vast") == "simulated"
    assert verdict([*simulated, record("vast", "quick", passed=False)], "vast") == "failed"


def test_the_kind_follows_from_the_providers_address() -> None:
    text = '[providers.vast]\nendpoint = "http://127.0.0.1:9000"\n[providers.aws]\nallow = true\n'
    settings = parse_settings(text, "f")
    kinds = [play.kind_of(settings, name) for name in ("vast", "aws", "local")]
    assert kinds == ["simulated", "live", "local"]


def test_a_job_passes_only_with_the_result_of_an_undisturbed_run() -> None:
    assert play.judge(QUICK, ended(), GOOD) == ""
    assert "not that of" in play.judge(QUICK, ended(), {**GOOD, "digest": "0" * 64})
    assert "missing" in play.judge(QUICK, ended(), {})
    assert "failed" in play.judge(QUICK, ended("failed"), GOOD)


def test_a_killed_job_passes_only_when_it_went_on_from_a_checkpoint() -> None:
    good = {"digest": play.expected_digest(KILLED), "first": 250}
    assert play.judge(KILLED, ended(attempts=2), good) == ""
    assert "did not go on" in play.judge(KILLED, ended(attempts=1), good)
    assert "did not go on" in play.judge(KILLED, ended(attempts=2), {**good, "first": 0})


def test_a_fine_tune_passes_only_when_its_loss_fell() -> None:
    assert play.judge(ADAPTER, ended(), {"digest": "x", "fell": True}) == ""
    assert "did not fall" in play.judge(ADAPTER, ended(), {"digest": "x", "fell": False})


def test_the_plain_job_learns() -> None:
    script = runpy.run_path(str(play.JOBS / "quick.py"))
    state = script["fresh"]()
    losses = [script["train_step"](state) for _ in range(400)]
    assert sum(losses[-50:]) < 0.05 * sum(losses[:50])
