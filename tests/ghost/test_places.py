"""State in places that are hard to see: what skipped calls change there is there again, or it is told."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ghosts import SCRIPTS, Ghost, hook_module, through_deaths

pytest.importorskip("torch")
pytestmark = [pytest.mark.train, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def odd_places(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    spec = importlib.util.spec_from_file_location("odd_places", SCRIPTS / "odd_places.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["odd_places"] = module
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("odd"))
        spec.loader.exec_module(module)
    return module


def _seen(module: ModuleType) -> dict[str, object]:
    walk = hook_module("walk").Walk()
    for name, value in list(vars(module).items()):
        if not (name.startswith("__") and name.endswith("__")):
            walk.root(name, value, "user", vars(module), name)
    return hook_module("values").kept(walk)


def test_a_count_is_seen_wherever_it_lies(
    odd_places: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = importlib.import_module("torch")
    monkeypatch.setattr(hook_module("state").run, "torch", torch)
    before = _seen(odd_places)
    assert before == _seen(odd_places), "it differs without a count"
    for name, tick in odd_places.PLACES.items():
        tick()
        after = _seen(odd_places)
        assert after != before, f"nobody has seen the count of {name!r}"
        before = after


@pytest.mark.parametrize(
    "place",
    [
        "count",
        "float64",
        "namespace",
        "text",
        "loaded_by_hand",
        "second_twin",
        "list_attribute",
        "alike_in_set",
        "handler",
        "bytes_in_memory",
    ],
)
def test_a_count_that_no_replay_can_have_ends_it(tmp_path: Path, place: str) -> None:
    ghost = Ghost(tmp_path, SCRIPTS / "odd_places.py", place)
    assert ghost.attempt(die_at=45).status == -9
    ended = ghost.attempt(replay=True)
    assert ended.status == 121, ended.output
    assert " in the replay, and was " in ended.told("diverged")[0]["detail"]


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("count", "count@ was changed by fetching"),
        ("generator", "count:count was changed by fetching"),
        ("lines", ""),
    ],
)
def test_an_iterator_that_fetches_have_taken_from_ends_the_replay(
    tmp_path: Path, kind: str, why: str
) -> None:
    ghost = Ghost(tmp_path, SCRIPTS / "counted_fetches.py", kind)
    assert ghost.attempt(die_at=45).status == -9
    ended = ghost.attempt(replay=True)
    assert ended.status == 121, ended.output
    assert why in ended.told("diverged")[0]["detail"]


def test_files_that_are_read_and_the_environment_are_as_they_were(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "read_on.py"), 45, 85)


def test_a_stream_that_only_skipped_calls_draw_from_goes_on(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "own_stream.py"), 45, 73)


def test_streams_that_fetches_draw_from_go_on_wherever_they_lie(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "streams_of_fetches.py"), 45, 75)


@pytest.mark.parametrize("kind", ["stream", "sampler", "workers"])
def test_data_that_is_drawn_between_the_batches_is_drawn_again(tmp_path: Path, kind: str) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "lazy_draws.py", kind), 47, 83)


def test_a_file_that_compresses_is_left_alone_and_goes_on(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "compressed_text.py"), 35, 65)


def test_an_array_that_a_model_gives_out_is_one_with_its_own_again(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "given_arrays.py"), 35, 65)


def test_a_number_in_a_table_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas: Any = pytest.importorskip("pandas")
    monkeypatch.setattr(hook_module("state").run, "torch", importlib.import_module("torch"))
    holder: Any = ModuleType("holder")
    holder.table = pandas.DataFrame({"a": [1.0, 2.0], "b": [1, 2], "c": ["x", "y"]})
    holder.table["day"] = pandas.to_datetime(["2020-01-01", "2020-01-02"])
    holder.table["d"] = [0.5, 0.5]
    holder.column = pandas.Series([1, 2])
    before = _seen(holder)
    holder.table.mean(numeric_only=True)
    holder.table = holder.table.copy()
    assert _seen(holder) == before, "how its columns lie is told"
    for name, value in (("a", 7.0), ("b", 7), ("day", pandas.Timestamp("2021-01-01")), ("d", 1.5)):
        holder.table.at[1, name] = value
        after = _seen(holder)
        assert after != before, name
        before = after
    holder.column.at[0] = 7
    assert _seen(holder) != before


def test_the_last_batch_of_a_stream_is_told_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, numpy = importlib.import_module("torch"), importlib.import_module("numpy")
    monkeypatch.setattr(hook_module("state").run, "torch", torch)
    batches = [numpy.arange(n, n + 6.0).reshape(2, 3) for n in range(2)]
    batches += [torch.arange(4), "text", b"text", numpy.float32(3), {"a": 1}, [numpy.ones(3), "a"]]
    sums = [hook_module("draws")._sum(batch, 0) for batch in batches]
    assert 0 not in sums and len(set(sums)) == len(batches)


@pytest.mark.parametrize("kind", ["plain", "gathering", "workers"])
def test_fetches_that_fail_and_are_caught_fail_again(tmp_path: Path, kind: str) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "failed_fetches.py", kind), 38, 78)


def test_what_torchscript_keeps_of_a_module_is_as_it_was(tmp_path: Path) -> None:
    through_deaths(Ghost(tmp_path, SCRIPTS / "scripted_state.py"), 45, 85)


def test_a_graph_that_is_needed_long_after_its_snapshot_ends_the_replay(tmp_path: Path) -> None:
    """The proof of a snapshot is over by then, and nothing that was recorded disagrees yet."""
    ghost = Ghost(tmp_path, SCRIPTS / "controller.py", "25", "60")
    assert ghost.attempt(die_at=23).status == -9
    ended = ghost.attempt(replay=True)
    assert ended.status == 121, ended.output
    assert "older than the snapshot" in ended.told("diverged")[0]["detail"]


def test_no_snapshot_follows_where_a_graph_was_needed_long_after_one(tmp_path: Path) -> None:
    run = Ghost(tmp_path, SCRIPTS / "controller.py", "90", "200").attempt()
    assert run.status == 0, run.output
    steps = [event["step"] for event in run.told("snapshot_end")]
    assert min(steps) == 10
    assert [step for step in steps if step > 90] == [182], "the controller has its turn at step 182"
