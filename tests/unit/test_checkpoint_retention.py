"""The sweep never names anything that a live checkpoint needs."""

from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.checkpoint.retention import GRACE_S, Aged, kept, sweepable

JOB = "jobs/j234567892/"
NOW_S = 1_000_000.0
IDS = [f"{n:064x}" for n in range(12)]
PACKS = [f"{JOB}a{1 + n % 3}-abc/packs/{n:064x}" for n in range(20)]
MANIFESTS = [f"{JOB}a{1 + n % 3}-abc/manifests/{identity}.json" for n, identity in enumerate(IDS)]
OTHERS = [
    f"{JOB}HEAD",
    f"{JOB}code/packs/{1:064x}",
    f"{JOB}code/manifests/{1:064x}.json",
    f"{JOB}a1-abc/logs/0",
]

CHECKPOINTS = st.dictionaries(st.sampled_from(IDS), st.lists(st.sampled_from(PACKS)), max_size=12)
OBJECTS = st.lists(
    st.builds(Aged, st.sampled_from([*PACKS, *MANIFESTS, *OTHERS]), st.floats(0, NOW_S)),
    max_size=60,
    unique_by=lambda one: one.key,
)


@given(CHECKPOINTS, st.sets(st.sampled_from(IDS)), OBJECTS)
def test_nothing_is_swept_that_a_live_checkpoint_names(
    manifests: dict[str, list[str]], keep: set[str], objects: list[Aged]
) -> None:
    found = set(sweepable(manifests, keep, objects, NOW_S))
    live = {pack for identity in keep for pack in manifests.get(identity, [])}
    assert not live & found
    assert not {f"{identity}.json" for identity in keep} & {key.rpartition("/")[2] for key in found}
    assert not set(OTHERS) & found


@given(CHECKPOINTS, st.sets(st.sampled_from(IDS)), OBJECTS)
def test_nothing_young_is_swept(
    manifests: dict[str, list[str]], keep: set[str], objects: list[Aged]
) -> None:
    young = {one.key for one in objects if NOW_S - one.modified_s < GRACE_S}
    assert not young & set(sweepable(manifests, keep, objects, NOW_S))


def test_what_only_a_dropped_checkpoint_named_is_swept() -> None:
    manifests = {IDS[0]: [PACKS[0], PACKS[1]], IDS[1]: [PACKS[1]]}
    objects = [Aged(PACKS[0], 0), Aged(PACKS[1], 0), Aged(MANIFESTS[0], 0), Aged(MANIFESTS[1], 0)]
    assert sweepable(manifests, {IDS[1]}, objects, NOW_S) == [PACKS[0], MANIFESTS[0]]


def test_an_unknown_live_checkpoint_stops_the_sweep() -> None:
    assert sweepable({}, {IDS[1]}, [Aged(PACKS[0], 0)], NOW_S) == []


@given(
    st.lists(st.sampled_from(IDS), unique=True),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sets(st.sampled_from(IDS)),
)
def test_the_newest_two_and_the_pinned_are_always_kept(
    checkpoints: list[str], last: int, every: int, pinned: set[str]
) -> None:
    found = kept(checkpoints, keep_last=last, keep_every=every, pinned=pinned)
    assert set(checkpoints[-2:]) <= found <= set(checkpoints)
    assert pinned & set(checkpoints) <= found
    assert len(found) >= min(len(checkpoints), last)


@given(st.integers(1, 60), st.integers(1, 9))
def test_an_every_nth_that_was_kept_once_is_kept_for_good(count: int, every: int) -> None:
    names = [str(n) for n in range(100)]
    before = kept(names[:count], keep_last=2, keep_every=every)
    after = kept(names[: count + 20], keep_last=2, keep_every=every)
    assert {name for name in before if int(name) % every == 0} <= after
