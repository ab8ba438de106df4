"""Secrets in transit and at rest: a box that one reader opens (X25519), and a box under one key.

Keys and boxes travel as base64. Nothing here logs, and no error quotes what it was given.
"""

import base64

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.secret import SecretBox

from vaultlayer.errors import SealError

KEY_B = 32
NONCE_B = SecretBox.NONCE_SIZE


def public_of(private: bytes) -> str:
    """Give the public key, base64, of 32 private (random) bytes."""
    return base64.b64encode(bytes(PrivateKey(private).public_key)).decode()


def is_seal_key(public: str) -> bool:
    """Tell whether `public` is base64 of a public key."""
    try:
        return len(_decode(public)) == KEY_B
    except ValueError:
        return False


def seal(public: str, plain: bytes) -> str:
    """Seal for the owner of `public`; not even the sender can open it again.

    Raises:
        SealError: `public` is no key.
    """
    try:
        return base64.b64encode(SealedBox(PublicKey(_decode(public))).encrypt(plain)).decode()
    except (CryptoError, ValueError, TypeError) as error:
        raise SealError(
            "a secret cannot be sealed", why="the reader's key is not base64 of 32 good bytes"
        ) from error


def unseal(private: bytes, box: str) -> bytes:
    """Open a box that was sealed to the public half of `private`.

    Raises:
        SealError: it was sealed to another key, or was changed on the way.
    """
    try:
        return SealedBox(PrivateKey(private)).decrypt(_decode(box))
    except (CryptoError, ValueError, TypeError) as error:
        raise SealError(
            "a sealed secret does not open", why="it was sealed to another key, or is damaged"
        ) from error


def lock(key: bytes, plain: bytes, *, nonce: bytes) -> str:
    """Encrypt for storage under a 32-byte key; `nonce` is 24 random bytes, never used twice."""
    return base64.b64encode(SecretBox(key).encrypt(plain, nonce)).decode()


def unlock(key: bytes, box: str) -> bytes:
    """Open what `lock` gave.

    Raises:
        SealError: it was locked with another key, or is damaged.
    """
    try:
        return SecretBox(key).decrypt(_decode(box))
    except (CryptoError, ValueError, TypeError) as error:
        raise SealError(
            "stored secrets do not open", why="they were locked with another key, or are damaged"
        ) from error


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
