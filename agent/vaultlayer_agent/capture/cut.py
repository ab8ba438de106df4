"""A cut: files put aside that make one checkpoint."""

import msgspec

from vaultlayer.checkpoint.source import SourceFile

LOOSE = "files"
"""In place of a framework: the files of a cut without a checkpoint, which nothing goes on from."""


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """What goes to the committer.

    `framework` is the newest checkpoint's, or `files` when there is none. `latest` is its path relative to
    the working directory, "" when there is none. `tier` and `detail` say how the script will resume.
    `meta` may hold `torn`: single-file checkpoints of which no whole copy exists.
    """

    files: list[SourceFile]
    step: int | None = None
    framework: str = ""
    tier: str = ""
    detail: str = ""
    final: bool = False
    meta: dict[str, str] = {}
    latest: str = ""
    number: int = 0
