"""The script's environment: what `--env` and env files say, and what of this machine goes with it.

Every value is a secret: no error quotes one.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vaultlayer.errors import EnvError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ASSIGNED = re.compile(r"\s*(?:export\s+)?([^\s=#]+)\s*=[ \t]*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "\\": "\\", "$": "$", "`": "`"}

HOST_NAMES = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PYTHONPATH",
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "TRANSFORMERS_CACHE",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
)
"""What a script on this very machine needs to find what the user's shell would."""

HOST_PREFIXES = ("LC_",)


def host_part(environ: Mapping[str, str]) -> dict[str, str]:
    """Give what of this machine's environment is of use to a script that runs on it."""
    return {
        name: value
        for name, value in environ.items()
        if name in HOST_NAMES or name.startswith(HOST_PREFIXES)
    }


def gather_env(
    files: Sequence[Path], items: Sequence[str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Give the user's own variables; what comes later wins, and `--env` over files.

    Raises:
        EnvError: a file or an item cannot be read.
    """
    found: dict[str, str] = {}
    for path in files:
        found |= read_env_file(path)
    for item in items:
        name, value = parse_item(item, environ)
        found[name] = value
    return found


def parse_item(item: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Read `K=V`, or `K`, which takes the value from this machine's environment.

    Raises:
        EnvError: the name cannot be one, or is not set here.
    """
    name, equals, value = item.partition("=")
    if not _NAME.match(name):
        shown = name if name.isprintable() and len(name) < 40 else "…"
        raise EnvError(
            f"--env: {shown!r} is no name of a variable",
            why="a name has letters, digits and underscores",
            mend="--env NAME=VALUE, or --env NAME to take the value from here",
        )
    if equals:
        return name, value
    if name not in environ:
        raise EnvError(f"--env {name}: it is not set here", mend=f"--env {name}=VALUE")
    return name, environ[name]


def read_env_file(path: Path) -> dict[str, str]:
    """Read a file of dotenv lines.

    Raises:
        EnvError: it cannot be read, or a line of it; the line's number is told.
    """
    try:
        return parse_env_text(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise EnvError(f"cannot read the env file {path}", why=why or "") from error


def parse_env_text(text: str, path: str) -> dict[str, str]:
    """Read dotenv text: `K=V`, `export K=V`, quotes (which may span lines), `#` comments.

    Raises:
        EnvError: naming `path` and the line.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        end = _line_end(text, at)
        line = text[at:end]
        if not line.strip() or line.lstrip().startswith("#"):
            at = end + 1
            continue
        head = _ASSIGNED.match(text, at, end)
        if head is None:
            raise _bad_line(path, text, at, "it has no NAME=VALUE")
        if not _NAME.match(head[1]):
            raise _bad_line(path, text, at, "the name before = cannot be one of a variable")
        value, at = _value(text, head.end(), path)
        found[head[1]] = value
    return found


def _value(text: str, at: int, path: str) -> tuple[str, int]:
    """Read one value from `at`; give it and where the next line begins."""
    quote = text[at : at + 1]
    if quote not in {'"', "'"}:
        end = _line_end(text, at)
        return re.split(r"(?:^|\s)#", text[at:end], maxsplit=1)[0].strip(), end + 1
    parts: list[str] = []
    here = at + 1
    while here < len(text) and text[here] != quote:
        if quote == '"' and text[here] == "\\" and here + 1 < len(text):
            follower = text[here + 1]
            parts.append(_ESCAPES.get(follower, "\\" + follower))
            here += 2
        else:
            parts.append(text[here])
            here += 1
    if here >= len(text):
        raise _bad_line(path, text, at, "its quote is not closed")
    end = _line_end(text, here)
    rest = text[here + 1 : end].strip()
    if rest and not rest.startswith("#"):
        raise _bad_line(path, text, at, "something follows the closing quote")
    return "".join(parts), end + 1


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _bad_line(path: str, text: str, at: int, why: str) -> EnvError:
    number = text.count("\n", 0, at) + 1
    return EnvError(f"{path}, line {number}: cannot be read", why=why, mend="NAME=VALUE")
