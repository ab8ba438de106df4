r"""How file names are spelled in a manifest, and which are refused. Pure.

POSIX names are bytes; a manifest is UTF-8 text. A byte that is no UTF-8 (Python's surrogate escape)
is spelled `\xNN`, and a backslash `\\`; all else stands as it is.
"""

import re

NAME_MOST_B = 4096
PART_MOST_B = 255
_ESCAPED = re.compile(r"\\(\\|x([89a-f][0-9a-f]))")
_SPELLING = re.compile(r"(?:[^\\\ud800-\udfff]|\\\\|\\x[89a-f][0-9a-f])*\Z", re.DOTALL)


def spell(name: str) -> str:
    """Give the manifest's spelling of a name as Python's `os` gives it."""
    return "".join(_spell_one(char) for char in name)


def _spell_one(char: str) -> str:
    code = ord(char)
    if char == "\\":
        return "\\\\"
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else char


def unspell(text: str) -> str:
    """Give the name as Python's `os` takes it."""
    raw = _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[2], 16)) if found[2] else "\\", text)
    return raw.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def name_fault(text: str) -> str:
    """Say why a spelled name may not be written, or give an empty string."""
    if fault := _text_fault(text):
        return fault
    for part in unspell(text).split("/"):
        if part in {"", ".", ".."}:
            return "its name is not relative and plain"
        if len(part.encode("utf-8", "surrogateescape")) > PART_MOST_B:
            return "a part of its name is too long"
    return ""


def target_fault(text: str) -> str:
    """Say why a spelled link target is none, or give an empty string; it may point anywhere."""
    return _text_fault(text) if text else "a link needs a target"


def _text_fault(text: str) -> str:
    if not _SPELLING.match(text) or spell(unspell(text)) != text:
        return "its name is not spelled as it should be"
    if "\0" in text:
        return "its name holds a zero byte"
    if len(unspell(text).encode("utf-8", "surrogateescape")) > NAME_MOST_B:
        return "its name is too long"
    return ""
