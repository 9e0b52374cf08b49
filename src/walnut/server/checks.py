"""Whether settings that are allowed one by one go together.

What must stay true: what keeps a server from starting by its settings alone is found by `walnut config
check` too.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path

from walnut.server import tls
from walnut.server.config.load import Settings
from walnut.server.config.model import ServerSection, TlsSection
from walnut.server.errors import OpenToOthers
from walnut.server.subsystems import AnySubsystem, check_switches


def beside(settings: Settings) -> Path:
    """The directory that relative paths of the settings start from."""
    return settings.file.parent if settings.file else settings.data.parent


def check_settings(
    settings: Settings, classes: Mapping[str, type[AnySubsystem]]
) -> ssl.SSLContext | None:
    """Whether settings that are allowed one by one go together; what they say of TLS.

    Raises InvalidConfig, OpenToOthers, TlsUnusable."""
    check_switches(classes, settings)
    context = tls.context_of(settings.of(TlsSection), beside(settings))
    check_address(settings.of(ServerSection), context)
    return context


def check_address(section: ServerSection, context: ssl.SSLContext | None) -> None:
    """Raise OpenToOthers for an address that others reach in clear text."""
    host = numeric(section.host)
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise OpenToOthers(
            f"server.host is {section.host!r}: give a numeric address, as 127.0.0.1, 0.0.0.0 or ::"
        ) from None
    if not (loopback or section.plaintext or context):
        raise OpenToOthers(
            f"server.host is {section.host}, which others reach, and tokens would travel in clear text: "
            "name a certificate ([tls], or --tls-cert and --tls-key), or set server.plaintext if a "
            "proxy in front brings TLS"
        )


def numeric(host: str) -> str:
    """An address as a number: localhost is one, and brackets around IPv6 are not part of it."""
    return "127.0.0.1" if host == "localhost" else host.strip("[]")
