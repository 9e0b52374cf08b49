"""TLS for the listening address: a context with modern defaults, whose certificate can be exchanged.

What must stay true: a connection that is open keeps what it was made with; the next one gets the files
as they were at the last reload that worked.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from walnut.server.config.model import TlsSection
from walnut.server.errors import TlsUnusable

_MINIMUM: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context_of(section: TlsSection, beside: Path) -> ssl.SSLContext | None:
    """The context, or None if no certificate is named. Paths are relative to `beside`.

    Raises TlsUnusable."""
    if not section.certificate:
        return None
    # Python's defaults for servers are the modern ones: no compression, no old ciphers.
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = _MINIMUM[section.minimum]
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, section, beside)
    return context


def load_certificate(context: ssl.SSLContext, section: TlsSection, beside: Path) -> None:
    """Use the files, as they are now, for connections from now on. Raises TlsUnusable; the context
    then has what it had."""
    certificate, key = beside / section.certificate, beside / section.key
    for path in (certificate, key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise TlsUnusable(
                f"{path} can't be read ({error.strerror}): see [tls] and the file's permissions"
            ) from error
    try:
        # First in a context of its own: a pair that does not fit would leave half of it behind.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _no_password)
        context.load_cert_chain(certificate, key, _no_password)
    except (ssl.SSLError, ValueError) as error:
        raise TlsUnusable(
            f"{certificate} and {key} are no certificate with its private key in PEM without a "
            f"password ({error})"
        ) from error


def _no_password() -> str:
    raise ValueError("the private key is encrypted")
