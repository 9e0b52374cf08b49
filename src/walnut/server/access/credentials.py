"""Tokens as text: `walnut_ID_SECRET`.

    walnut _ 8fK2pQ7xTz0c _ 43 characters of base 62
             12 of base 62    256 bits by the system's generator
             not secret       stored as its SHA-256 alone

The id says which digest to compare with, so that a check costs one lookup. A plain hash is enough for
256 random bits, which nobody can go through; slow hashes are for what people make up.

What must stay true: comparing takes as long for a secret that is wrong in its first character as in its
last, and for an id that does not exist as for one that does.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

import msgspec

PREFIX: Final = "walnut"
ID_LENGTH: Final = 12
"""Of base 62: 71 bits, unique without asking."""
SECRET_LENGTH: Final = 43
"""Of base 62: just over 256 bits."""
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TEXT: Final = re.compile(
    rf"{PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})", re.ASCII
)
TEXT_LENGTH: Final = len(PREFIX) + 1 + ID_LENGTH + 1 + SECRET_LENGTH
NO_DIGEST: Final = bytes(32)
"""What a secret is compared with when there is no such token: no secret has it."""


class Credential(msgspec.Struct, frozen=True):
    """A token's two parts. Its secret is not shown by `repr`."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"Credential(id={self.id!r}, secret=...)"

    @property
    def text(self) -> str:
        """As it is given to people."""
        return f"{PREFIX}_{self.id}_{self.secret}"

    @property
    def digest(self) -> bytes:
        """What is stored of its secret."""
        return hashlib.sha256(self.secret.encode()).digest()


def new_credential() -> Credential:
    """A token that nobody has."""
    return Credential(_chance(ID_LENGTH), _chance(SECRET_LENGTH))


def read_credential(text: str) -> Credential | None:
    """The parts of a token's text; None if it is not one."""
    if len(text) != TEXT_LENGTH:
        return None
    match = _TEXT.fullmatch(text)
    return None if match is None else Credential(match[1], match[2])


def same(digest: bytes, other: bytes) -> bool:
    """Whether two digests are one, in a time that does not say where they differ."""
    return hmac.compare_digest(digest, other)


def _chance(length: int) -> str:
    return "".join([secrets.choice(_ALPHABET) for _ in range(length)])
