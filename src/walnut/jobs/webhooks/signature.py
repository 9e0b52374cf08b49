"""Signatures of Standard Webhooks (standardwebhooks.com), made and checked.

    webhook-id: msg_2KWPBg                  the same in every attempt
    webhook-timestamp: 1674087231           seconds; the time of this attempt
    webhook-signature: v1,Xk3…= v1,pQ9…=    one for each secret, so that a secret can be replaced

    signature = base64(HMAC-SHA256(secret, "{id}.{timestamp}.{body}"))

What must stay true: what is signed can be cut into its three parts in one way only, so an id holds
no full stop; all comparisons take the same time whether they match or not.

Left out on purpose: the asymmetric `v1a` signatures, which are skipped when verifying.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Final

from walnut.jobs.webhooks.errors import (
    HeaderMissing,
    InvalidMessage,
    InvalidSecret,
    SignatureMismatch,
    TimestampRefused,
)

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
PREFIX: Final = "whsec_"
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
MAX_SECRETS: Final = 8
"""Secrets in use at once. A rotation needs two; each makes the header 48 characters longer."""
MAX_SIGNATURES: Final = 32
"""Signatures looked at in a header that came in, whoever sent it."""
TOLERANCE_SECONDS: Final = 300
_MAX_TIMESTAMP: Final = 253_402_300_799  # the end of the year 9999; nanoseconds would be beyond it
_MESSAGE_ID: Final = re.compile(r"[!-\-/-~]{1,256}", re.ASCII)  # visible, and no full stop
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that go with this body; `timestamp` is the attempt's, in Unix seconds.

    Raises InvalidSecret, InvalidMessage."""
    if not _MESSAGE_ID.fullmatch(message_id):
        raise InvalidMessage(
            f"{message_id[:40]!r} is no id of a message: use 1 to 256 visible ASCII characters "
            "without a full stop"
        )
    if not 0 <= timestamp <= _MAX_TIMESTAMP:
        raise InvalidMessage(f"{timestamp} is no timestamp: use whole seconds since 1970")
    signatures = [_signature(key, message_id, str(timestamp), body) for key in _keys(secrets)]
    return {ID: message_id, TIMESTAMP: str(timestamp), SIGNATURE: " ".join(signatures)}


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: int,
    tolerance: int = TOLERANCE_SECONDS,
) -> str:
    """The id of a webhook that is signed with one of the secrets, within `tolerance` seconds of `now`.

    Remember the id for as long, so as not to act on the same webhook twice.
    Raises InvalidSecret, HeaderMissing, TimestampRefused, SignatureMismatch."""
    keys = _keys(secrets)
    lower = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp, given = (_header(lower, name) for name in (ID, TIMESTAMP, SIGNATURE))
    if not _SECONDS.fullmatch(timestamp):
        raise HeaderMissing(f"{TIMESTAMP} does not hold whole seconds: the sender is at fault")
    if abs(now - int(timestamp)) > tolerance:
        raise TimestampRefused(
            f"the webhook was signed {now - int(timestamp)} s ago and {tolerance} s are tolerated: "
            "if it is not a replay, set the clocks"
        )
    expected = [_signature(key, message_id, timestamp, body).encode() for key in keys]
    candidates = [part.encode() for part in given.split(" ")[:MAX_SIGNATURES]]
    matches = [hmac.compare_digest(one, other) for one in candidates for other in expected]
    if not any(matches):
        raise SignatureMismatch(
            "no signature of the webhook fits: it was not sent with this secret, or its body was "
            "changed on the way (verify the bytes as they came, before parsing them)"
        )
    return message_id


def new_secret(entropy: bytes) -> str:
    """A secret made of random bytes, 32 for example. Raises InvalidSecret."""
    _check_size(entropy)
    return PREFIX + base64.b64encode(entropy).decode()


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _keys(secrets: Sequence[str]) -> list[bytes]:
    if not 1 <= len(secrets) <= MAX_SECRETS or isinstance(secrets, str):
        raise InvalidSecret(f"there must be 1 to {MAX_SECRETS} secrets, in a list")
    return [_key(secret) for secret in secrets]


def _key(secret: str) -> bytes:
    text = secret.removeprefix(PREFIX)
    if text == secret:
        raise InvalidSecret(f"a secret does not begin with {PREFIX}: use one of `new_secret`")
    try:
        key = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        # Without the cause, which may quote the secret.
        raise InvalidSecret(
            f"a secret is not base64 after {PREFIX}: use one of `new_secret`"
        ) from None
    _check_size(key)
    return key


def _check_size(key: bytes) -> None:
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise InvalidSecret(
            f"a secret has {len(key)} bytes: it must have {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}"
        )


def _header(lower: Mapping[str, str], name: str) -> str:
    value = lower.get(name)
    if not value or not value.isascii():
        raise HeaderMissing(f"{name} is missing, empty or not ASCII: this is no Standard Webhook")
    return value
