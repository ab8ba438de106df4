"""What a person names: jobs, checkpoints, providers, durations, places."""

from pathlib import Path

import pytest

from vaultlayer.driver import Need, Offer, OfferList
from vaultlayer.errors import (
    CheckpointError,
    DiskError,
    FlagError,
    InputError,
    JobUnknownError,
    PlacementError,
)
from vaultlayer.events import JobSpec
from vaultlayer.job import CheckpointState, Job
from vaultlayer.messages import JobRow
from vaultlayer.settings import parse_settings
from vaultlayer_cli import names, pulling
from vaultlayer_cli.providers import check_providers
from vaultlayer_cli.submit import check_offers, check_outputs, check_resume_args
from vaultlayer_cli.units import duration_text, parse_duration, size_text, usd_text

ROWS = [
    JobRow(job="jnew234567", name="base"),
    JobRow(job="jold234567", name="base"),
    JobRow(job="jolder3456", name="jolly"),
]


@pytest.mark.parametrize(
    ("wanted", "job"),
    [
        ("@last", "jnew234567"),
        ("-", "jnew234567"),
        ("base", "jnew234567"),
        ("jn", "jnew234567"),
        ("jold2", "jold234567"),
        ("jolly", "jolder3456"),
        ("jolder3456", "jolder3456"),
    ],
)
def test_a_job_is_found_by_newest_name_or_beginning(wanted: str, job: str) -> None:
    assert names.choose(wanted, ROWS) == job


def test_an_ambiguous_beginning_is_refused_with_the_choices() -> None:
    with pytest.raises(FlagError, match="2 jobs begin with 'jold'") as caught:
        names.choose("jold", ROWS)
    assert "jold234567, jolder3456" in caught.value.why


def test_an_unknown_job_tells_what_is_near() -> None:
    with pytest.raises(JobUnknownError) as caught:
        names.choose("bsae", ROWS)
    assert caught.value.why == "nearest: base"
    for wanted in ("@last", "x", ""):
        with pytest.raises(JobUnknownError):
            names.choose(wanted, [])


SETTINGS = parse_settings("[providers.local]\nallow = true\n[providers.vast]\nallow = false\n", "t")
ELSEWHERE = parse_settings("[bus]\nurls = ['nats://x']\n", "t")


def test_an_allowed_provider_may_be_named_once_or_twice() -> None:
    assert check_providers(["local", "local"], SETTINGS) == ["local"]
    assert check_providers(["local"], None) == ["local"]


def test_only_the_broker_elsewhere_knows_its_providers() -> None:
    assert check_providers(["anything"], ELSEWHERE) == ["anything"]


def test_an_unknown_provider_and_one_that_is_not_allowed_are_told_apart() -> None:
    with pytest.raises(FlagError, match="no provider is called 'lokal'") as unknown:
        check_providers(["lokal"], SETTINGS)
    assert unknown.value.mend == "--provider local"
    with pytest.raises(PlacementError, match="'vast' is not allowed") as forbidden:
        check_providers(["vast"], SETTINGS)
    assert "[providers.vast] allow = true" in forbidden.value.mend


def test_one_offer_is_enough() -> None:
    lists = [
        OfferList(provider="a", refusal="sold out"),
        OfferList(provider="b", offers=[Offer(provider="b", offer_id="1")]),
    ]
    check_offers(lists, [], Need())
    with pytest.raises(PlacementError):
        check_offers(lists, ["a"], Need())


def test_a_refusal_tells_what_every_provider_said() -> None:
    lists = [OfferList(provider="a", refusal="sold out"), OfferList(provider="b")]
    with pytest.raises(PlacementError, match="with H200:1") as caught:
        check_offers(lists, [], Need(gpu="H200", gpu_count=1))
    assert caught.value.why == "a: sold out; b: no offer"
    with pytest.raises(PlacementError) as silent:
        check_offers([], [], Need())
    assert "no provider pool runs" in silent.value.why


def test_outputs_are_directories_with_their_dots_resolved(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert check_outputs(["out/", "./a/../b", "/data/x"], tmp_path) == ["out", "b", "/data/x"]
    for bad in ("", " ", "/", "file"):
        with pytest.raises(FlagError):
            check_outputs([bad], tmp_path)


def test_resume_args_know_three_fields() -> None:
    assert check_resume_args("--resume {latest} --dir '{latest_dir}' --at {step}")
    for bad in ("{best}", "'open", "{0}", "{latest.x}"):
        with pytest.raises(FlagError):
            check_resume_args(bad)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5h", 5400),
        ("2h30m", 9000),
        ("1d", 86400),
        ("1h 5s", 3605),
        ("500ms", 0.5),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_duration(text, "--deadline") == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1x", "h", "1h30", "soon"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(FlagError):
        parse_duration(text, "--deadline")


def test_numbers_read_well() -> None:
    seconds = [0.04, 9.94, 12.4, 59.4, 65, 3599, 3660, 90_000, -1]
    told = ["0.0s", "9.9s", "12s", "59s", "1m 05s", "59m 59s", "1h 01m", "1d 01h", "0s"]
    assert [duration_text(s) for s in seconds] == told
    assert [size_text(b) for b in (0, 999, 1000, 5_300_000, 2 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 KB",
        "5.3 MB",
        "2.0 TB",
    ]
    assert [usd_text(u) for u in (0, 0.0042, 1.239, 12)] == ["$0.00", "$0.0042", "$1.24", "$12.00"]


def checkpoint(manifest: str, seq: int, rejected: str = "") -> CheckpointState:
    return CheckpointState(manifest=manifest, key="k", attempt=1, seq=seq, rejected=rejected)


def job_with(*checkpoints: CheckpointState) -> Job:
    return Job(job="j234567abc", spec=JobSpec(command=["x"]), checkpoints=checkpoints)


def test_the_newest_good_checkpoint_is_pulled_unless_one_is_named() -> None:
    job = job_with(checkpoint("aa1", 1), checkpoint("ab2", 2), checkpoint("cc3", 3, "damaged"))
    assert pulling.choose(job, "").manifest == "ab2"
    assert pulling.choose(job, "aa").manifest == "aa1"
    for wanted, error in (("a", InputError), ("zz", InputError), ("cc", CheckpointError)):
        with pytest.raises(error):
            pulling.choose(job, wanted)
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        pulling.choose(job_with(), "")


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    pulling.check_destination(tmp_path / "new", force=False)
    (tmp_path / "file").touch()
    for path, force in ((tmp_path, False), (tmp_path / "file", True)):
        with pytest.raises(DiskError):
            pulling.check_destination(path, force=force)
    pulling.check_destination(tmp_path, force=True)


def test_outputs_outside_the_working_directory_come_below_it_by_name() -> None:
    dest = Path("/d")
    places = pulling.places_for(dest, ["out0", "out1", "work"], ["/data/runs", "/other/runs/"])
    assert places == {"work": dest, "out0": dest / "runs", "out1": dest / "runs-out1"}
