"""Every error the webhooks raise on purpose.

No message holds a secret, a body, or more of a URL than its host: paths and queries often carry
tokens.
"""

from __future__ import annotations

from walnut.jobs.errors import JobsError


class WebhookError(JobsError):
    """Base of every error raised by `walnut.jobs.webhooks`."""


class InvalidSecret(WebhookError, ValueError):
    """A secret is not one of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64."""


class InvalidMessage(WebhookError, ValueError):
    """A message id, a timestamp or a header can't be signed or sent as it is."""


class VerificationFailed(WebhookError):
    """Base of the reasons why a webhook that came in is not to be trusted."""


class HeaderMissing(VerificationFailed):
    """A header of Standard Webhooks is missing or is not of its form."""


class TimestampRefused(VerificationFailed):
    """The webhook was signed too long ago, or in the future: it may be a replay."""


class SignatureMismatch(VerificationFailed):
    """None of the signatures is that of a known secret for this id, timestamp and body."""


class TargetRefused(WebhookError):
    """Base of the reasons why nothing is sent to a URL."""


class UrlRefused(TargetRefused, ValueError):
    """The URL itself is not one that a webhook may go to."""


class AddressRefused(TargetRefused):
    """A host has an address that webhooks may not reach.

    Attributes:
        host: as the URL names it.
        address: the refused one of its addresses.
        reason: what that address is, such as "private (RFC 1918)".
    """

    def __init__(self, host: str, address: str, reason: str) -> None:
        where = "" if host == address else f" of {host!r}"
        super().__init__(
            f"the address {address}{where} is refused, it is {reason}: if the endpoint is meant to be "
            "there, allow its network"
        )
        self.host = host
        self.address = address
        self.reason = reason


class HostUnknown(WebhookError):
    """No address was found for a host, for now."""


class InvalidSetting(WebhookError, ValueError):
    """An option is out of its range."""
