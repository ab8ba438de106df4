"""Master keys at rest: one sealed file, and the key that opens it somewhere else.

`<home>/keys/vault.sealed` is locked with a 32-byte key. That key comes from the environment variable
`VAULTLAYER_VAULT_KEY` (base64), from the file `<home>/keys/unlock.key` (mode 0600), or from the operating
system's keyring where the package `keyring` is installed; in this order when opening. A new one goes to the
keyring if there is one, else to the file.
"""

import base64
import contextlib
import fcntl
import importlib
import os
import secrets
import stat
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Protocol, cast

import msgspec

from vaultlayer.errors import SealError
from vaultlayer.sealing import KEY_B, NONCE_B, lock, unlock
from vaultlayer_actors.credential_vault.master import NOISE_B, MasterKeys, make_keys, overlaid

UNLOCK_VARIABLE = "VAULTLAYER_VAULT_KEY"
_SERVICE = "vaultlayer"


class _Keyring(Protocol):
    """What we use of the package `keyring`."""

    def get_password(self, service: str, name: str) -> str | None: ...
    def set_password(self, service: str, name: str, value: str) -> None: ...


class _SealedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: int = 1
    box: str


class KeyStore:
    """The sealed master keys of one home. Safe to open from several processes; one at a time makes."""

    def __init__(self, directory: Path, environ: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._environ = os.environ if environ is None else environ

    @property
    def path(self) -> Path:
        """The sealed file."""
        return self._directory / "vault.sealed"

    @property
    def unlock_path(self) -> Path:
        """Where the unlocking key lies if neither environment nor keyring has it."""
        return self._directory / "unlock.key"

    def open(self) -> MasterKeys:
        """Read the master keys, with those of the environment on top.

        Raises:
            SealError: there are none, or the unlocking key is missing, wrong or open to others.
        """
        keys = self._read()
        if keys is None:
            raise SealError(
                "the vault is empty", why=f"there is no {self.path}", mend="vaultlayer init --yes"
            )
        return overlaid(keys, self._environ)

    def open_or_make(self, now_s: float) -> MasterKeys:
        """Read the master keys, or make new ones when there is no sealed file yet."""
        if self._read() is None:
            self.save(make_keys(secrets.token_bytes(NOISE_B), now_s))
        return self.open()

    def save(self, keys: MasterKeys) -> None:
        """Seal and write in one step: after a power cut the old file or the new one is there."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        key = self._unlocking_key() or self._make_unlocking_key()
        box = lock(key, msgspec.json.encode(keys), nonce=secrets.token_bytes(NONCE_B))
        write_private(self.path, msgspec.json.encode(_SealedFile(box=box)))

    def add_provider(self, name: str, values: Mapping[str, str]) -> None:
        """Store one provider's API keys in place of older ones; without values, take them away."""
        with self._alone():
            keys = self._stored()
            kept = {other: held for other, held in keys.providers.items() if other != name}
            providers = {**kept, name: dict(values)} if values else kept
            self.save(msgspec.structs.replace(keys, providers=providers))

    def set_store(self, access_key: str, secret_key: str) -> None:
        """Store the parent key of the bucket."""
        with self._alone():
            keys = self._stored()
            self.save(
                msgspec.structs.replace(
                    keys, store_access_key=access_key, store_secret_key=secret_key
                )
            )

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        """Keep other vaults out between reading and writing, so that no key handed over is lost."""
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _stored(self) -> MasterKeys:
        self.open()
        keys = self._read()
        assert keys is not None
        return keys

    def _read(self) -> MasterKeys | None:
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return None
        key = self._unlocking_key()
        if key is None:
            raise SealError(
                "the vault stays closed",
                why=f"neither {UNLOCK_VARIABLE} nor {self.unlock_path} nor a keyring has its key",
                mend=f"set {UNLOCK_VARIABLE} for this process",
            )
        try:
            sealed = msgspec.json.decode(raw, type=_SealedFile)
            return msgspec.json.decode(unlock(key, sealed.box), type=MasterKeys)
        except msgspec.MsgspecError:
            # Its text may quote what was read, so it is neither kept nor chained.
            raise SealError(f"{self.path} is damaged", mend="restore it from a backup") from None

    def _unlocking_key(self) -> bytes | None:
        if text := self._environ.get(UNLOCK_VARIABLE, ""):
            return _key_of(text, f"the variable {UNLOCK_VARIABLE}")
        if self.unlock_path.exists():
            if stat.S_IMODE(self.unlock_path.stat().st_mode) & 0o077:
                raise SealError(
                    f"{self.unlock_path} is open to others",
                    why="whoever reads it can open the vault",
                    mend=f"chmod 600 {self.unlock_path}, and think of who may have read it",
                )
            return _key_of(self.unlock_path.read_text(), str(self.unlock_path))
        stored = self._keyring_get()
        return _key_of(stored, "the keyring") if stored else None

    def _make_unlocking_key(self) -> bytes:
        key = secrets.token_bytes(KEY_B)
        text = base64.b64encode(key).decode()
        if not self._keyring_set(text):
            write_private(self.unlock_path, text.encode() + b"\n")
        return key

    def _keyring_get(self) -> str | None:
        ring = _keyring()
        if ring is not None:
            # A headless machine has the package and no keyring behind it: every call raises its own error.
            with contextlib.suppress(Exception):
                return ring.get_password(_SERVICE, str(self._directory))
        return None

    def _keyring_set(self, text: str) -> bool:
        ring = _keyring()
        if ring is not None:
            with contextlib.suppress(Exception):
                ring.set_password(_SERVICE, str(self._directory), text)
        return ring is not None and self._keyring_get() == text


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read (mode 0600), durably and in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _key_of(text: str, source: str) -> bytes:
    with contextlib.suppress(ValueError):
        key = base64.b64decode(text.strip(), validate=True)
        if len(key) == KEY_B:
            return key
    raise SealError(
        f"{source} holds no unlocking key",
        why="it must be base64 of 32 random bytes",
        mend="openssl rand -base64 32 makes one",
    )


def _keyring() -> _Keyring | None:
    try:
        return cast("_Keyring", importlib.import_module("keyring"))
    except ImportError:
        return None
