"""What may differ where kernels add in another order each time: numbers a little, and nothing else."""

import math

import pytest

from ghosts import hook_module

np = pytest.importorskip("numpy")
pytest.importorskip("torch")
tail = hook_module("tail")
escapes = hook_module("escapes")
state = hook_module("state")

ROW = np.array([[1.0, -2.0, math.nan], [1e-9, 3e5, math.inf]], np.float32)


def array(value: object) -> tuple[str, object]:
    return ("numpy", escapes.pack_array(np.asarray(value)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("item", 1.0), ("item", 1.001)),
        (array(ROW), array(ROW * np.float32(1.0001))),
        (array(np.float64(0.25)), array(np.float64(0.2501))),
        (array(np.array([1 + 2j])), array(np.array([1.001 + 2j]))),
        (("format", "loss 0.1234 at 7"), ("format", "loss 0.1235 at 7")),
        (("format", "1.234e-05"), ("format", "1.235e-05")),
        (("repr", "tensor([ 9.9999, -1.])"), ("repr", "tensor([10.0000, -1.])")),
    ],
)
def test_last_bits_may_differ_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, one: tuple[str, object], other: tuple[str, object]
) -> None:
    monkeypatch.setattr(tail, "may_differ", lambda: True)
    monkeypatch.setattr(state.run, "verified", print, raising=False)
    compared = tail.Tail([one])
    compared.check(other)
    assert (compared.near, compared.equal) == (1, 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("item", 1.0), ("item", 1.2)),
        (("item", 1), ("item", 2)),
        (array(ROW), array(ROW * np.float32(1.2))),
        (array(ROW), array(ROW.astype(np.float64))),
        (array(ROW), array(ROW.T)),
        (array(np.array([3, 4])), array(np.array([3, 5]))),
        (array(np.array([True])), array(np.array([False]))),
        (("format", "loss 0.1234 at 7"), ("format", "loss 0.1234 at 8")),
        (("format", "loss 0.1"), ("format", "cost 0.1")),
        (("format", "0.1 0.1"), ("format", "0.1")),
        (("array", ("none",)), ("array", ("array", "<f4", (), b"\0\0\0\0"))),
        (("tolist", "0.1000"), ("tolist", "0.1001")),
    ],
)
def test_other_numbers_forms_and_words_end_the_attempt(
    monkeypatch: pytest.MonkeyPatch, one: tuple[str, object], other: tuple[str, object]
) -> None:
    told: list[str] = []
    monkeypatch.setattr(tail, "may_differ", lambda: True)
    monkeypatch.setattr(state.run, "verified", print, raising=False)
    monkeypatch.setattr(state.run, "diverge", told.append, raising=False)
    tail.Tail([one]).check(other)
    assert len(told) == 1
    assert "after going live" in told[0]


def test_nothing_may_differ_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(state.run, "verified", print, raising=False)
    monkeypatch.setattr(state.run, "diverge", told.append, raising=False)
    monkeypatch.setattr(state.run, "on_gpu", False)
    tail.Tail([array(ROW)]).check(array(ROW * np.float32(1.0001)))
    assert len(told) == 1
