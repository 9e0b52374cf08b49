"""The guard: which URLs may be called, and at which addresses (against SSRF).

    URL ──parse──▶ scheme, host, port, path ──resolve once──▶ addresses ──judge each──▶ Target
                        UrlRefused              HostUnknown       AddressRefused

Whoever may name a URL would otherwise be able to reach our own machines through us: by a private
address, by a name that leads to one, by a spelling of one that we don't recognise, or by a name whose
answer changes between the check and the call.

What must stay true: the name is resolved once; every address of the answer is judged, and one that is
refused refuses them all; a connection is made to a judged address, never to a name. There is one
parser, and what it has taken apart is what is sent: no URL is parsed a second time by anybody else.

Left out on purpose: odd spellings of IPv4 addresses (0x7f.1, 2130706433) are refused and not
translated, whatever they mean; so is a mixed answer: its good addresses are not picked out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import quote, urlsplit

import idna
import msgspec

from walnut.jobs.webhooks.errors import AddressRefused, HostUnknown, UrlRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host's name and a port to its addresses, best first; raises OSError if there are none."""

MAX_URL_CHARS: Final = 2048
MAX_HOST_CHARS: Final = 253  # of the DNS
MAX_ADDRESSES: Final = 4
"""Addresses of one host that are tried. All are judged."""
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class AllowedTargets(msgspec.Struct, frozen=True, kw_only=True):
    """Where webhooks may go.

    Attributes:
        networks: `ipaddress` networks that are allowed although they are private or special. An
            address where clouds serve credentials is not allowed by a wide network, only by itself:
            ip_network("169.254.169.254/32").
        ports: all that are allowed. frozenset(range(1, 65536)) allows any.
        schemes: {"https"} alone keeps bodies from being read on the way.
    """

    networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset(DEFAULT_PORTS.values())
    schemes: frozenset[str] = frozenset(DEFAULT_PORTS)


PUBLIC: Final = AllowedTargets()
"""Public addresses, at the usual ports."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A URL taken apart.

    Attributes:
        scheme: "http" or "https".
        host: a name in lower case and ASCII, or an address in its usual form, without brackets.
        port: always given.
        path: with the query, percent-encoded; it may hold a token of the endpoint.
    """

    scheme: str
    host: str
    port: int
    path: str

    def __repr__(self) -> str:
        """Without the path, which may be a secret."""
        return f"<Destination {self.scheme}://{self.authority}>"

    @property
    def authority(self) -> str:
        """What the header Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A destination and the addresses it is pinned to, best first. All of them were judged."""

    destination: Destination
    addresses: tuple[str, ...]


async def resolve(host: str, port: int) -> Sequence[str]:
    """The system's resolver. It runs in a thread, which goes on even if nobody waits any more."""
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(answer[4][0]) for answer in answers]


async def pin(url: str, allowed: AllowedTargets = PUBLIC, resolver: Resolver = resolve) -> Target:
    """Check a URL, resolve its host, once, and check the addresses.

    Raises UrlRefused, AddressRefused, HostUnknown."""
    destination = parse(url, allowed)
    host = destination.host
    literal = _literal(host)
    if literal is not None:
        return Target(destination=destination, addresses=(str(literal),))
    try:
        answers = await resolver(host, destination.port)
    except (OSError, UnicodeError) as error:
        raise HostUnknown(
            f"no address was found for {host!r} ({error}): is the name right?"
        ) from error
    if not answers:
        raise HostUnknown(f"no address was found for {host!r}: is the name right?")
    addresses = [_judged(host, answer, allowed) for answer in answers]
    return Target(
        destination=destination, addresses=tuple(dict.fromkeys(addresses))[:MAX_ADDRESSES]
    )


def parse(url: str, allowed: AllowedTargets = PUBLIC) -> Destination:
    """Take a URL apart and check all that can be checked without asking anybody.

    Raises UrlRefused, and AddressRefused if the host is given as an address."""
    if len(url) > MAX_URL_CHARS:
        raise UrlRefused(f"the URL has {len(url)} characters and may have {MAX_URL_CHARS}")
    if any(char <= " " or char in "\\\x7f" for char in url):
        # Parsers disagree on these: some drop them, some take a backslash for a slash.
        raise UrlRefused("the URL holds a space, a control character or a backslash: encode it")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _host(parts.netloc, parts.hostname or "")
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    except UrlRefused:
        raise
    except ValueError:  # without the cause, which may quote the URL
        raise UrlRefused("the URL is not well formed: it is like https://host/path") from None
    if parts.scheme not in allowed.schemes or parts.scheme not in DEFAULT_PORTS:
        wanted = " or ".join(sorted(allowed.schemes & DEFAULT_PORTS.keys()))
        raise UrlRefused(f"the URL's scheme is {parts.scheme[:20]!r}: it must be {wanted}")
    if port is None:
        port = DEFAULT_PORTS[parts.scheme]
    if port not in allowed.ports:
        raise UrlRefused(
            f"port {port} of {host!r} is not among the allowed ones: allow it if meant"
        )
    literal = _literal(host)
    if literal is not None:
        host = _judged(host, host, allowed)
    return Destination(
        scheme=parts.scheme, host=host, port=port, path=f"{path}?{query}" if query else path
    )


_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*", re.ASCII)
_NUMBER: Final = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)", re.ASCII)


def _host(netloc: str, host: str) -> str:
    """The host as it will be resolved, sent and compared with the certificate."""
    if "@" in netloc:
        raise UrlRefused("the URL holds a user name or a password: use a header of the endpoint")
    if "[" in netloc or "]" in netloc:
        if "%" in host:
            raise UrlRefused(
                "the URL's host has a zone: an address with one is of this machine only"
            )
        return str(ipaddress.IPv6Address(host))
    if not host.isascii():
        host = idna.encode(host, uts46=True).decode()  # it may become ASCII digits and dots
    host = host.lower().removesuffix(".")
    if len(host) > MAX_HOST_CHARS or not _NAME.fullmatch(host):
        raise UrlRefused("the URL has no host, or one that is no name of the DNS")
    if _NUMBER.fullmatch(host) and _literal(host) is None:
        raise UrlRefused(f"{host!r} is an odd spelling of an address: use four decimal numbers")
    return host


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _judged(host: str, answer: str, allowed: AllowedTargets) -> str:
    """The address in its usual form. Raises AddressRefused."""
    address = _literal(answer)
    if address is None:
        raise AddressRefused(host, answer[:60], "not an address at all")
    if address.version == 6:
        address = ipaddress.IPv6Address(int(address))  # without its zone
    reason = judge(address, allowed.networks)
    if reason is not None:
        raise AddressRefused(host, str(address), reason)
    return str(address)


def judge(address: Address, networks: Sequence[Network] = ()) -> str | None:
    """What is wrong with an address; None if webhooks may go there."""
    inner = _embedded(address)
    both = (address,) if inner is None else (address, inner)
    if any(str(one) in _METADATA for one in both):
        if any(
            network.num_addresses == 1 and one in network for network in networks for one in both
        ):
            return None
        return "where clouds serve metadata and credentials"
    if any(one in network for network in networks for one in both):
        return None
    if inner is not None:
        reason = judge(inner)
        return None if reason is None else f"{inner} inside IPv6, which is {reason}"
    special = _SPECIAL_4 if address.version == 4 else _SPECIAL_6
    for network, reason in special:
        if address in network:
            return reason
    if address.version == 6 and address not in _GLOBAL_6:
        return "reserved (outside of 2000::/3)"
    return None


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this IPv6 address would really go to."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


# The registries of special addresses (IANA, RFC 6890), written down here because the answers of
# `ipaddress.is_private` and `is_global` differ between patch releases of Python.


def _table(text: str) -> tuple[tuple[Network, str], ...]:
    rows = (line.split(maxsplit=1) for line in text.strip().splitlines())
    return tuple((ipaddress.ip_network(network), reason) for network, reason in rows)


_SPECIAL_4: Final = _table("""
    0.0.0.0/8           unspecified (this network)
    10.0.0.0/8          private (RFC 1918)
    100.64.0.0/10       shared by a carrier's NAT (RFC 6598)
    127.0.0.0/8         loopback
    169.254.0.0/16      link-local
    172.16.0.0/12       private (RFC 1918)
    192.0.0.0/24        reserved for protocols
    192.0.2.0/24        reserved for documentation
    192.88.99.0/24      reserved (6to4 relays, gone)
    192.168.0.0/16      private (RFC 1918)
    198.18.0.0/15       private (benchmarks, RFC 2544)
    198.51.100.0/24     reserved for documentation
    203.0.113.0/24      reserved for documentation
    224.0.0.0/4         multicast
    240.0.0.0/4         reserved or broadcast
""")

_SPECIAL_6: Final = _table("""
    ::/128              unspecified
    ::1/128             loopback
    ::/96               reserved (IPv4-compatible, gone)
    64:ff9b:1::/48      private (NAT64 of a local network)
    100::/64            reserved (discarded)
    2001::/23           reserved for protocols (Teredo among them)
    2001:db8::/32       reserved for documentation
    3fff::/20           reserved for documentation
    5f00::/16           reserved (segment routing)
    fc00::/7            private (unique local)
    fe80::/10           link-local
    fec0::/10           private (site-local, gone)
    ff00::/8            multicast
""")

_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

_METADATA: Final = frozenset(
    {
        "169.254.169.254",  # AWS, Azure, Google, Oracle, DigitalOcean, OpenStack and more
        "169.254.170.2",  # AWS, containers
        "169.254.170.23",  # AWS, pods
        "168.63.129.16",  # Azure; a public address by its number
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle, older
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS, pods
        "fd20:ce::254",  # Google
    }
)
