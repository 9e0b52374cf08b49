"""Whether settings that are allowed one by one go together.

What must stay true: what keeps a server from starting by its settings alone is found by `walnut config
check` too.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from walnut.server import tls
from walnut.server.config.load import Settings
from walnut.server.config.model import AccessSection, ServerSection, TlsSection
from walnut.server.directory import IDENTITY
from walnut.server.errors import OpenToOthers, TokenFileUnusable
from walnut.server.subsystems import AnySubsystem, check_switches


def beside(settings: Settings) -> Path:
    """The directory that relative paths of the settings start from."""
    return settings.file.parent if settings.file else settings.data.parent


def check_settings(
    settings: Settings, classes: Mapping[str, type[AnySubsystem]]
) -> ssl.SSLContext | None:
    """Whether settings that are allowed one by one go together; what they say of TLS.

    Raises InvalidConfig, OpenToOthers, TlsUnusable, TokenFileUnusable."""
    check_switches(classes, settings)
    check_token_file(settings)
    context = tls.context_of(settings.of(TlsSection), beside(settings))
    check_address(settings.of(ServerSection), context)
    return context


def check_token_file(settings: Settings) -> None:
    """Raise TokenFileUnusable if a first start, which is to come, can't write the operator's token."""
    file = settings.of(AccessSection).operator_token_file
    if not file or (settings.data / IDENTITY).exists():
        return
    path = beside(settings) / file
    if os.path.lexists(path):
        raise token_file_unusable(path, "it is there already")
    if not path.parent.is_dir():
        raise token_file_unusable(path, f"{path.parent} is no directory")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise token_file_unusable(path, f"{path.parent} can't be written")


def token_file_unusable(path: Path, why: str) -> TokenFileUnusable:
    """The refusal, for `raise`."""
    return TokenFileUnusable(
        f"the operator's token can't be written to {path} ({why}): remove it, or change "
        "access.operator_token_file"
    )


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
