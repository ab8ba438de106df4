"""A page of entries or output fits one message, and always brings its reader on."""

from hypothesis import given
from hypothesis import strategies as st

from vaultlayer_actors.dispatcher.people import PAGE_B_MAX, fitting


@given(st.lists(st.integers(0, PAGE_B_MAX * 2), max_size=40), st.integers(1, 50))
def test_a_page_is_as_long_as_fits_and_never_empty(sizes_b: list[int], most: int) -> None:
    count = fitting(sizes_b, most)
    assert count <= min(len(sizes_b), most)
    assert count >= min(1, len(sizes_b))
    assert count <= 1 or sum(sizes_b[:count]) <= PAGE_B_MAX
    if count < min(len(sizes_b), most):
        assert sum(sizes_b[: count + 1]) > PAGE_B_MAX
