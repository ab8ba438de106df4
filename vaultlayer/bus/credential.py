"""A user's identity on the bus, and the `.creds` file in which it lies at rest."""

import base64
import os
import re
from pathlib import Path

import msgspec

from vaultlayer.bus.jwt import sign
from vaultlayer.errors import ConfigError

_BLOCK = re.compile(r"-+BEGIN ([A-Z ]+)-+\s+(\S+)\s+-+END \1-+")
_JWT_NAME = "NATS USER JWT"
_SEED_NAME = "USER NKEY SEED"


class BusCredential(msgspec.Struct, frozen=True):
    """A signed user JWT and the seed of the key it was signed for. Both are secrets."""

    jwt: str
    seed: str

    def __repr__(self) -> str:
        return "BusCredential(***)"

    def sign_nonce(self, nonce: str) -> bytes:
        """Answer the server's challenge: base64 of the signature.

        Raises:
            DeniedError: the seed is no seed.
        """
        return base64.b64encode(sign(self.seed, nonce.encode()))


def parse_credential(text: str) -> BusCredential:
    """Read the text of a `.creds` file; raises ValueError when a part is missing."""
    blocks = dict(_BLOCK.findall(text))
    if _JWT_NAME not in blocks or _SEED_NAME not in blocks:
        raise ValueError("the user JWT or the key's seed is missing")
    return BusCredential(jwt=blocks[_JWT_NAME], seed=blocks[_SEED_NAME])


def format_credential(credential: BusCredential) -> str:
    """Spell a credential as NATS's own tools do."""
    return (
        f"-----BEGIN {_JWT_NAME}-----\n{credential.jwt}\n------END {_JWT_NAME}------\n\n"
        "The seed below proves who you are: keep it secret.\n\n"
        f"-----BEGIN {_SEED_NAME}-----\n{credential.seed}\n------END {_SEED_NAME}------\n"
    )


def read_credential(path: Path) -> BusCredential:
    """Read a `.creds` file.

    Raises:
        ConfigError: it cannot be read, or has not both parts.
    """
    try:
        return parse_credential(path.read_text())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"cannot read the bus credential {path}",
            why=why or "it is no .creds file",
            mend="vaultlayer init writes one for this machine",
        ) from None


def write_credential(path: Path, credential: BusCredential) -> None:
    """Write a `.creds` file in one step, mode 0600; its directory is made, mode 0700."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(format_credential(credential))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
