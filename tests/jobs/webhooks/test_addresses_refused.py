"""No spelling of a URL, and no answer of the DNS, leads to an address that is not public."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walnut.jobs.webhooks.errors import AddressRefused, HostUnknown, TargetRefused, UrlRefused
from walnut.jobs.webhooks.guard import (
    MAX_ADDRESSES,
    PUBLIC,
    AllowedTargets,
    Target,
    judge,
    parse,
    pin,
)

SECRET_PATH = "/services/T0/token"


class Names:
    """A resolver that gives its answers one after another, and takes numbers as the system does."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        try:
            return [socket.inet_ntoa(socket.inet_aton(host))]
        except OSError:
            return self.answers.pop(0)


def pinned(url: str, *answers: Sequence[str], allowed: AllowedTargets = PUBLIC) -> Target:
    """What a URL is pinned to, if the resolver gives these answers."""
    return asyncio.run(pin(url, allowed, Names(*answers)))


def networks(*texts: str) -> AllowedTargets:
    """Allow these networks."""
    return AllowedTargets(networks=tuple(ipaddress.ip_network(text) for text in texts))


def test_a_public_host_is_pinned_to_its_addresses() -> None:
    target = pinned("https://Hooks.Example.com/in?x=1#part", ["93.184.216.34", "2606:2800:220::1"])
    assert target.addresses == ("93.184.216.34", "2606:2800:220::1")
    assert target.destination.host == "hooks.example.com"
    assert target.destination.port == 443
    assert target.destination.path == "/in?x=1"
    assert target.destination.authority == "hooks.example.com"


def test_a_name_is_resolved_once() -> None:
    names = Names(["93.184.216.34"], ["10.0.0.1"])
    target = asyncio.run(pin("https://rebind.example/", PUBLIC, names))
    assert target.addresses == ("93.184.216.34",)
    assert names.asked == ["rebind.example"]


def test_one_bad_address_in_an_answer_refuses_them_all() -> None:
    with pytest.raises(AddressRefused) as caught:
        pinned("https://mixed.example" + SECRET_PATH, ["93.184.216.34", "10.1.2.3"])
    assert caught.value.host == "mixed.example"
    assert caught.value.address == "10.1.2.3"
    assert caught.value.reason == "private (RFC 1918)"
    assert "token" not in str(caught.value)


def test_all_addresses_are_judged_even_those_that_are_not_tried() -> None:
    many = [f"93.184.216.{number}" for number in range(100)]
    assert len(pinned("https://big.example/", many).addresses) == MAX_ADDRESSES
    with pytest.raises(AddressRefused):
        pinned("https://big.example/", [*many, "::1"])


REFUSED = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("10.0.0.1", "private"),
    ("100.64.0.1", "carrier"),
    ("100.127.255.255", "carrier"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("169.254.1.1", "link-local"),
    ("169.254.169.254", "metadata"),
    ("168.63.129.16", "metadata"),
    ("100.100.100.200", "metadata"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.8", "reserved"),
    ("192.168.1.1", "private"),
    ("198.18.0.1", "private"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.1", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::10.0.0.1", "reserved"),
    ("::ffff:127.0.0.1", "127.0.0.1 inside IPv6, which is loopback"),
    ("::ffff:169.254.169.254", "metadata"),
    ("64:ff9b::10.0.0.1", "10.0.0.1 inside IPv6"),
    ("64:ff9b:1::808:808", "private"),
    ("2002:7f00:1::", "127.0.0.1 inside IPv6"),
    ("2002:c0a8:101::1", "192.168.1.1 inside IPv6"),
    ("2001::1", "reserved"),
    ("2001:db8::1", "documentation"),
    ("fc00::1", "private"),
    ("fd00:ec2::254", "metadata"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("fec0::1", "private"),
    ("ff02::1", "multicast"),
    ("4000::1", "reserved"),
    ("localhost", "not an address"),
]


@pytest.mark.parametrize(("address", "reason"), REFUSED)
def test_an_address_that_is_not_public_is_refused_with_its_reason(
    address: str, reason: str
) -> None:
    with pytest.raises(AddressRefused, match=reason):
        pinned("https://inside.example/", [address])


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_a_public_address_is_let_through(address: str) -> None:
    assert pinned("https://out.example/", [address]).addresses


def test_an_allowed_network_is_let_through_in_all_its_disguises() -> None:
    allowed = networks("10.0.0.0/8", "fc00::/7")
    for address in ("10.1.2.3", "::ffff:a01:203", "64:ff9b::a01:203", "fd12::1"):
        (got,) = pinned("https://in.example/", [address], allowed=allowed).addresses
        assert ipaddress.ip_address(got) == ipaddress.ip_address(address)
    for address in ("192.168.0.1", "127.0.0.1", "::ffff:192.168.0.1"):
        with pytest.raises(AddressRefused):
            pinned("https://in.example/", [address], allowed=allowed)


def test_metadata_is_not_allowed_by_a_wide_network() -> None:
    wide = networks("0.0.0.0/0", "::/0")
    addresses = ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "fd00:ec2::254%1"]
    for address in addresses:
        with pytest.raises(AddressRefused, match="metadata"):
            pinned("http://meta.example/", [address], allowed=wide)
    alone = networks("169.254.169.254/32")
    assert pinned("http://169.254.169.254/", allowed=alone).addresses == ("169.254.169.254",)


def test_an_address_in_the_url_is_judged_without_asking_anybody() -> None:
    for url in ("https://127.0.0.1/", "https://[::1]/", "https://[::FFFF:7F00:1]/"):
        with pytest.raises(AddressRefused):
            parse(url)
    names = Names()
    target = asyncio.run(pin("https://[2606:4700:0:0::1]:443/", PUBLIC, names))
    assert target.addresses == ("2606:4700::1",)
    assert target.destination.authority == "[2606:4700::1]"
    assert not names.asked


BAD_URLS = [
    "",
    "/path",
    "hooks.example.com/in",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://hooks.example.com/",
    "javascript:alert(1)",
    "https://",
    "https:///path",
    "https://user:hunter2@hooks.example.com/",
    "https://user@hooks.example.com/",
    "https://@hooks.example.com/",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:8443/",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:99999/",
    "https://hooks.example.com:80:80/",
    "https://hooks.example.com:٨٠/",
    "https://hooks.example.com\\@10.0.0.1/",
    "https://hooks.example.com\t/",
    "https://hooks.\nexample.com/",
    " https://hooks.example.com/",
    "https://hooks example.com/",
    "https://hooks.example.com/\x7f",
    "https://hooks%2eexample.com/",
    "https://%31%32%37.0.0.1/",
    "https://hooks..example.com/",
    "https://hooks.example.com../",
    "https://.example.com/",
    "https://-x.example.com/",
    "https://hooks.example.com|10.0.0.1/",
    "https://[::1/",
    "https://[v1.x]/",
    "https://[hooks.example.com]/",
    "https://[127.0.0.1]/",
    "https://[fe80::1%25eth0]/",
    "https://[2606:4700::1%25eth0]/",
    "https://1.2.3/",
    "https://1.2.3.4.5/",
    "https://08.8.8.8/",
    "https://0x8.8.8.8/",
    "https://8.8.8.0x8/",
    "https://hooks.example.1/",
    "https://134744072/",
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 127 + "example/",
    "https://hooks.example.com/" + "a" * 2048,
    "https://xn--zzzzzzzz\u0080.example/",
    "https://hooks.example.com/\ud800",
    "https://ex\u2100mple.com/",
]


@pytest.mark.parametrize("url", BAD_URLS, ids=lambda url: ascii(url)[:40])
def test_a_url_that_is_not_plainly_a_webhooks_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        pinned(url, ["93.184.216.34"])
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_other_ports_and_only_https_can_be_allowed() -> None:
    allowed = AllowedTargets(ports=frozenset({8443}), schemes=frozenset({"https"}))
    assert parse("https://a.example:8443/", allowed).authority == "a.example:8443"
    with pytest.raises(UrlRefused, match="port 443"):
        parse("https://a.example/", allowed)
    with pytest.raises(UrlRefused, match="must be https"):
        parse("http://a.example:8443/", allowed)


def test_a_host_is_sent_in_one_spelling() -> None:
    for url in (
        "https://BÜCHER.example/",
        "https://bücher.example./",
        "HTTPS://xn--bcher-kva。example",
    ):
        assert parse(url).host == "xn--bcher-kva.example"
    assert parse("https://a_b.example/").host == "a_b.example"


def test_a_path_is_encoded_and_never_shown() -> None:
    destination = parse("https://a.example/é/%20?q=ü&r=%zz")
    assert destination.path == "/%C3%A9/%20?q=%C3%BC&r=%zz"
    assert repr(parse("https://a.example" + SECRET_PATH)) == "<Destination https://a.example>"


def test_a_name_without_addresses_is_unknown_for_now() -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with pytest.raises(HostUnknown, match=r"no\.example"):
        asyncio.run(pin("https://no.example" + SECRET_PATH, PUBLIC, nobody))
    with pytest.raises(HostUnknown):
        pinned("https://no.example/", [])


def test_the_systems_resolver_is_asked_by_default() -> None:
    with pytest.raises(AddressRefused, match="loopback"):
        asyncio.run(pin("https://localhost/"))


# ---- all spellings

NOT_PUBLIC = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
]  # fmt: skip


@st.composite
def inside_addresses(draw: st.DrawFn) -> ipaddress.IPv4Address:
    """An address that is not public."""
    network = ipaddress.IPv4Network(draw(st.sampled_from(NOT_PUBLIC)))
    return network[draw(st.integers(0, network.num_addresses - 1))]


def digits(number: int, base: str) -> str:
    """A number in one of the bases of inet_aton."""
    return {"d": f"{number}", "o": f"0{number:o}", "h": f"0x{number:x}", "H": f"0X{number:X}"}[base]


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A host that inet_aton takes for an address that is not public."""
    number = int(draw(inside_addresses()))
    count = draw(st.integers(1, 4))
    shift = 32
    parts = []
    for _ in range(count - 1):
        shift -= 8
        parts.append(number >> shift & 0xFF)
    parts.append(number & ((1 << shift) - 1))
    host = ".".join(digits(part, draw(st.sampled_from("dohH"))) for part in parts)
    assert socket.inet_aton(host) == number.to_bytes(4, "big")
    if draw(st.booleans()):
        host = host.translate({ord("0") + i: 0xFF10 + i for i in range(10)} | {ord("."): 0x3002})
    return host + draw(st.sampled_from(["", "."]))


@given(spellings(), st.sampled_from(["http", "HTTPS"]))
def test_no_spelling_of_an_inside_address_gets_through(host: str, scheme: str) -> None:
    with pytest.raises(TargetRefused):
        pinned(f"{scheme}://{host}/")


@given(inside_addresses())
def test_no_wrapping_of_an_inside_address_gets_through(inner: ipaddress.IPv4Address) -> None:
    number = int(inner)
    for wrapped in (
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(0x64FF9B << 96 | number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80 | 1),
        ipaddress.IPv6Address(number),
    ):
        with pytest.raises(AddressRefused):
            pinned(f"https://[{wrapped.exploded.upper()}]/")
        with pytest.raises(AddressRefused):
            pinned("https://wrapped.example/", [str(wrapped)])


@given(st.ip_addresses())
def test_whatever_python_calls_not_global_is_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    wrapping = ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16")  # judged by what is inside
    if judge(address) is None and not any(address in ipaddress.ip_network(w) for w in wrapping):
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_link_local))


@given(st.text(max_size=60))
def test_any_text_is_refused_by_name_or_pinned_to_what_was_judged(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/", f"https://x.example/{text}"):
        try:
            target = pinned(url, ["93.184.216.34"])
        except (UrlRefused, AddressRefused):
            continue
        assert all(judge(ipaddress.ip_address(one)) is None for one in target.addresses)
        destination = target.destination
        assert re.fullmatch(r"[a-z0-9._:-]+", destination.host)
        assert re.fullmatch(r"/[!-~]*", destination.path)
