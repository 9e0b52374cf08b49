"""Webhooks: signed, sent to where they may go, and held back from endpoints that are down."""

from walnut.jobs.webhooks.breaker import (
    Breaker,
    BreakerRules,
    Permit,
    Phase,
    after_failure,
    after_success,
    allow,
)
from walnut.jobs.webhooks.errors import (
    AddressRefused,
    HostUnknown,
    InvalidMessage,
    InvalidSecret,
    TargetRefused,
    UrlRefused,
    VerificationFailed,
    WebhookError,
)
from walnut.jobs.webhooks.signature import new_secret, sign, verify

try:
    from walnut.jobs.webhooks.endpoints import Endpoint, Webhooks
    from walnut.jobs.webhooks.guard import AllowedTargets, Destination, Resolver, Target, parse, pin
    from walnut.jobs.webhooks.sending import Cause, Outcome, Sender, SendLimits, Verdict, classify
except ModuleNotFoundError as error:
    raise ImportError("webhooks need more: pip install 'walnutdb[jobs]'") from error

__all__ = [
    "AddressRefused",
    "AllowedTargets",
    "Breaker",
    "BreakerRules",
    "Cause",
    "Destination",
    "Endpoint",
    "HostUnknown",
    "InvalidMessage",
    "InvalidSecret",
    "Outcome",
    "Permit",
    "Phase",
    "Resolver",
    "SendLimits",
    "Sender",
    "Target",
    "TargetRefused",
    "UrlRefused",
    "Verdict",
    "VerificationFailed",
    "WebhookError",
    "Webhooks",
    "after_failure",
    "after_success",
    "allow",
    "classify",
    "new_secret",
    "parse",
    "pin",
    "sign",
    "verify",
]
