"""Signatures are those of Standard Webhooks, and nothing else passes for one."""

from __future__ import annotations

import base64
import time

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from walnut.jobs.webhooks.errors import (
    HeaderMissing,
    InvalidMessage,
    InvalidSecret,
    SignatureMismatch,
    TimestampRefused,
    VerificationFailed,
)
from walnut.jobs.webhooks.signature import MAX_SECRETS, new_secret, sign, verify

# The vector that the libraries of Standard Webhooks test themselves with. In two parts, because
# scanners take the whole for a leaked secret.
VECTOR_SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
VECTOR_TIME = 1614265330
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

OLD, NEW = new_secret(b"o" * 24), new_secret(b"n" * 64)
NOW = 1_800_000_000
BODY = b'{"type":"invoice.paid"}'

ids = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1
)


def test_the_vector_of_the_standard_comes_out() -> None:
    assert sign([VECTOR_SECRET], VECTOR_ID, VECTOR_TIME, VECTOR_BODY) == {
        "webhook-id": VECTOR_ID,
        "webhook-timestamp": str(VECTOR_TIME),
        "webhook-signature": VECTOR_SIGNATURE,
    }


@given(st.binary(min_size=24, max_size=64), ids.filter(lambda text: len(text) <= 256), st.text())
def test_the_standards_own_library_accepts_what_is_signed_here(
    entropy: bytes, message_id: str, text: str
) -> None:
    secret, body, now = new_secret(entropy), text.encode(), int(time.time())
    headers = sign([secret], message_id, now, body)
    standardwebhooks.Webhook(secret).verify(body, headers, json_parse=False)
    assert verify([secret], headers, body, now) == message_id


def test_the_standards_own_library_accepts_either_secret_of_a_rotation() -> None:
    headers = sign([NEW, OLD], "msg_1", int(time.time()), BODY)
    for secret in (OLD, NEW):
        standardwebhooks.Webhook(secret).verify(BODY, headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(new_secret(b"x" * 24)).verify(BODY, headers)


def test_a_receiver_with_either_secret_of_a_rotation_verifies() -> None:
    headers = sign([NEW, OLD], "msg_1", NOW, BODY)
    assert headers["webhook-signature"].count("v1,") == 2
    assert verify([OLD], headers, BODY, NOW) == "msg_1"
    assert verify([NEW], headers, BODY, NOW) == "msg_1"
    assert verify([NEW, OLD], sign([OLD], "msg_1", NOW, BODY), BODY, NOW) == "msg_1"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_changed_or_missing_header_is_noticed(name: str) -> None:
    headers = sign([NEW], "msg_1", NOW, BODY)
    changed = {"webhook-id": "msg_2", "webhook-timestamp": str(NOW + 1)}.get(
        name, sign([OLD], "msg_1", NOW, BODY)[name]
    )
    with pytest.raises(SignatureMismatch):
        verify([NEW], headers | {name: changed}, BODY, NOW)
    for missing in ({name: ""}, {name: "é"}):
        with pytest.raises(HeaderMissing, match=name):
            verify([NEW], headers | missing, BODY, NOW)
    with pytest.raises(HeaderMissing, match=name):
        verify([NEW], {key: headers[key] for key in headers if key != name}, BODY, NOW)


def test_a_changed_body_is_noticed() -> None:
    headers = sign([NEW], "msg_1", NOW, BODY)
    with pytest.raises(SignatureMismatch, match="changed on the way"):
        verify([NEW], headers, BODY + b" ", NOW)


def test_header_names_may_be_written_in_any_case() -> None:
    headers = {name.title(): value for name, value in sign([NEW], "msg_1", NOW, BODY).items()}
    assert verify([NEW], headers, BODY, NOW) == "msg_1"


def test_signatures_of_other_versions_are_passed_over() -> None:
    headers = sign([NEW], "msg_1", NOW, BODY)
    good = headers["webhook-signature"]
    for signature in (f"v1a,AAAA {good}", f"{good} v2,x", f"nonsense {good}"):
        assert verify([NEW], headers | {"webhook-signature": signature}, BODY, NOW) == "msg_1"
    with pytest.raises(SignatureMismatch):
        verify([NEW], headers | {"webhook-signature": "v1a" + good[2:]}, BODY, NOW)
    with pytest.raises(SignatureMismatch):  # the header has its limit
        verify([NEW], headers | {"webhook-signature": "v2,x " * 1000 + good}, BODY, NOW)


def test_an_old_webhook_and_one_of_the_future_are_refused() -> None:
    headers = sign([NEW], "msg_1", NOW, BODY)
    for now in (NOW - 300, NOW + 300):
        assert verify([NEW], headers, BODY, now) == "msg_1"
    for now in (NOW - 301, NOW + 301):
        with pytest.raises(TimestampRefused):
            verify([NEW], headers, BODY, now)
    assert verify([NEW], headers, BODY, NOW + 900, tolerance=900) == "msg_1"


@pytest.mark.parametrize("timestamp", ["1.5", "-1", "1e9", " 1", "٣", "9" * 13, "nan"])
def test_a_timestamp_is_whole_seconds(timestamp: str) -> None:
    headers = sign([NEW], "msg_1", NOW, BODY) | {"webhook-timestamp": timestamp}
    with pytest.raises(HeaderMissing):
        verify([NEW], headers, BODY, NOW)


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\nb", "é", "a\n", "x" * 257])
def test_an_id_that_could_be_cut_in_two_ways_is_refused(message_id: str) -> None:
    with pytest.raises(InvalidMessage):
        sign([NEW], message_id, NOW, BODY)


@pytest.mark.parametrize("timestamp", [-1, NOW * 1_000_000_000])
def test_a_timestamp_in_another_unit_is_refused(timestamp: int) -> None:
    with pytest.raises(InvalidMessage, match="whole seconds"):
        sign([NEW], "msg_1", timestamp, BODY)


BAD_SECRETS = [
    "",
    "whsec_",
    NEW.removeprefix("whsec_"),
    NEW.replace("whsec_", "whsk_"),
    "whsec_" + base64.b64encode(b"x" * 23).decode(),
    "whsec_" + base64.b64encode(b"x" * 65).decode(),
    "whsec_" + "!" * 40,
    "whsec_" + "é" * 40,
    NEW + "\n",
]


@pytest.mark.parametrize("secret", BAD_SECRETS)
def test_a_bad_secret_is_refused_by_name_and_never_quoted(secret: str) -> None:
    with pytest.raises(InvalidSecret) as caught:
        sign([NEW, secret], "msg_1", NOW, BODY)
    with pytest.raises(InvalidSecret):
        verify([secret], sign([NEW], "msg_1", NOW, BODY), BODY, NOW)
    assert caught.value.__cause__ is None
    assert len(secret) < 20 or secret.removeprefix("whsec_")[:8] not in str(caught.value)


def test_there_is_at_least_one_secret_and_not_any_number() -> None:
    for secrets in ([], [NEW] * (MAX_SECRETS + 1), NEW):
        with pytest.raises(InvalidSecret):
            sign(secrets, "msg_1", NOW, BODY)


def test_a_secret_without_its_padding_is_the_same_secret() -> None:
    padded = new_secret(b"x" * 25)
    assert padded.endswith("==")
    assert sign([padded], "a", NOW, BODY) == sign([padded.rstrip("=")], "a", NOW, BODY)


@pytest.mark.parametrize("size", [0, 23, 65])
def test_a_new_secret_needs_enough_entropy_and_not_more(size: int) -> None:
    with pytest.raises(InvalidSecret, match=f"{size} bytes"):
        new_secret(b"x" * size)


def test_every_reason_not_to_trust_has_one_base() -> None:
    for kind in (HeaderMissing, TimestampRefused, SignatureMismatch):
        assert issubclass(kind, VerificationFailed)
