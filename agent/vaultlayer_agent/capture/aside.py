"""Moves half-written checkpoint directories out of the way of frameworks that look for the newest."""

from pathlib import Path


def move_aside(place: Path, name: str) -> bool:
    """Move a directory of a place below `.vaultlayer/aside`, where no checkpoint and no framework finds it.

    Gives false when it was gone already.
    """
    shelf = place / ".vaultlayer" / "aside"
    shelf.mkdir(parents=True, exist_ok=True)
    flat = name.replace("/", "__")
    number = sum(1 for _ in shelf.iterdir())
    try:
        (place / name).rename(shelf / f"{flat}.{number}")
    except FileNotFoundError:
        return False
    return True
