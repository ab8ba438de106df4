"""What is remembered of optimizers and modules: numbers stay, and the dead take no room."""

from ghosts import hook_module

boundary = hook_module("boundary")


class Thing:
    pass


class Unreferenced:
    """Can have no weak reference, as torch's generators up to 2.7."""

    __slots__ = ()


def test_many_short_lived_things_are_forgotten_and_numbers_go_on() -> None:
    alive = boundary.Alive()
    first = Thing()
    assert alive.add(first) == 0
    for number in range(1, 1000):
        assert alive.add(Thing()) == number
    last = Thing()
    assert alive.add(last) == 1000
    assert alive.items() == [(0, first), (1000, last)]
    assert len(alive) <= boundary.SWEPT_EVERY + 1


def test_what_can_have_no_weak_reference_is_forgotten_when_nobody_else_holds_it() -> None:
    alive = boundary.Alive()
    one, other = Unreferenced(), Unreferenced()
    alive.add(one)
    alive.add(other)
    assert [number for number, _ in alive.items()] == [0, 1]
    assert alive.number_of(other) == 1
    del one
    assert alive.items() == [(1, other)]
