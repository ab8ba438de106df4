"""What is remembered of optimizers and modules: numbers stay, and the dead take no room."""

from ghosts import hook_module

boundary = hook_module("boundary")


class Thing:
    pass


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
