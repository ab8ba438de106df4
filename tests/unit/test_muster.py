"""Ranks that take one snapshot together."""

from vaultlayer_agent.capture import muster as ms
from vaultlayer_agent.capture.muster import Act

FIRST, SECOND = 11, 22


def test_one_process_is_taken_at_once_and_published_when_proved():
    muster, act = ms.begin(ms.IDLE, FIRST, 1, 40, 1)
    assert act is Act.TAKE
    assert ms.end(muster, FIRST, 1)[1] is Act.PUBLISH


def test_two_ranks_wait_for_one_another():
    muster, act = ms.begin(ms.IDLE, FIRST, 1, 40, 2)
    assert act is Act.NOTHING
    muster, act = ms.begin(muster, SECOND, 1, 40, 2)
    assert act is Act.TAKE
    muster, act = ms.end(muster, SECOND, 1)
    assert act is Act.NOTHING
    assert ms.end(muster, FIRST, 1)[1] is Act.PUBLISH


def test_ranks_at_different_steps_make_nothing():
    muster, _ = ms.begin(ms.IDLE, FIRST, 1, 40, 2)
    muster, act = ms.begin(muster, SECOND, 1, 41, 2)
    assert act is Act.DROP
    assert muster == ms.IDLE


def test_a_void_rank_voids_the_others():
    muster, _ = ms.begin(ms.IDLE, FIRST, 3, 40, 2)
    muster, _ = ms.begin(muster, SECOND, 3, 40, 2)
    muster, _ = ms.end(muster, FIRST, 3)
    muster, act = ms.void(muster, SECOND, 3)
    assert act is Act.DROP
    assert ms.end(muster, FIRST, 3)[1] is Act.NOTHING


def test_late_and_strange_messages_change_nothing():
    muster, _ = ms.begin(ms.IDLE, FIRST, 5, 40, 1)
    for pid, number in ((FIRST, 4), (SECOND, 5)):
        assert ms.end(muster, pid, number) == (muster, Act.NOTHING)
        assert ms.void(muster, pid, number) == (muster, Act.NOTHING)


def test_a_process_that_is_gone_voids_what_it_has_begun():
    muster, _ = ms.begin(ms.IDLE, FIRST, 5, 40, 1)
    assert ms.void(muster, FIRST, 0)[1] is Act.DROP


def test_a_rank_that_begins_anew_lets_the_others_go_on():
    muster, _ = ms.begin(ms.IDLE, FIRST, 1, 40, 2)
    muster, act = ms.begin(muster, FIRST, 2, 60, 2)
    assert act is Act.DROP
    assert muster.begun == {FIRST}
    assert ms.begin(muster, SECOND, 2, 60, 2)[1] is Act.TAKE
