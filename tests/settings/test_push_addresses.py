"""Which addresses may be pushed to: the open internet and what is listed, however they are spelled."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis.strategies import integers, ip_addresses

from pipeline.settings.egress import Allowed, kind_of
from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.http_client import (
    ForbiddenAddressError,
    ForbiddenUrlError,
    check_url,
    socket_factory_for,
)

KINDS = {
    "8.8.8.8": "public",
    "10.1.2.3": "private",
    "172.31.255.255": "private",
    "192.168.0.1": "private",
    "100.64.0.1": "private",
    "198.18.0.1": "private",
    "203.0.113.7": "private",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.169.254": "link-local",
    "0.0.0.0": "special",  # noqa: S104 - an address that is asked about, not listened on
    "224.0.0.1": "special",
    "240.0.0.1": "special",
    "255.255.255.255": "special",
    "2606:4700::1111": "public",
    "::1": "loopback",
    "::": "special",
    "fe80::1": "link-local",
    "fd12:3456::1": "private",
    "fec0::1": "private",
    "2001:db8::1": "private",
    "ff02::1": "special",
    "::127.0.0.1": "special",
    "::ffff:8.8.8.8": "public",
    "::ffff:10.0.0.1": "private",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "link-local",
    "64:ff9b::8.8.8.8": "public",
    "64:ff9b::10.0.0.1": "private",
    "64:ff9b:1::8.8.8.8": "private",
    "2002:7f00:1::": "loopback",
    "2002:808:808::": "public",
    "2001:0:808:808::f7f7:f7f7": "public",
    "2001:0:808:808::f5ff:fffe": "private",
}


@pytest.mark.parametrize(("address", "kind"), KINDS.items())
def test_an_address_is_what_the_registries_say(address: str, kind: str) -> None:
    assert kind_of(ip_address(address)) == kind


@given(ip_addresses(v=4))
def test_what_is_public_to_us_is_global_to_python_too(address: IPv4Address) -> None:
    assert kind_of(address) != "public" or address.is_global


@given(integers(0, 2**32 - 1))
def test_an_address_within_an_address_is_as_good_as_that(number: int) -> None:
    plain = IPv4Address(number)

    for inside in (0xFFFF << 32 | number, 0x64_FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert kind_of(IPv6Address(inside)) == kind_of(plain)


@pytest.mark.parametrize(
    ("listed", "loopback", "address", "host", "permitted"),
    [
        ("", False, "8.8.8.8", "idp.example.org", True),
        ("", False, "10.0.0.1", "idp.example.org", False),
        ("idp.example.org", False, "10.0.0.1", "IDP.example.org.", True),
        ("idp.example.org", False, "10.0.0.1", "other.example.org", False),
        ("idp.example.org", False, "127.0.0.1", "idp.example.org", False),
        ("idp.example.org", False, "169.254.169.254", "idp.example.org", False),
        ("10.0.0.0/8, fd00::/8", False, "10.9.9.9", "any.example.org", True),
        ("10.0.0.0/8", False, "::ffff:10.9.9.9", "any.example.org", True),
        ("10.0.0.0/8", False, "192.168.0.1", "any.example.org", False),
        ("169.254.0.0/16", False, "169.254.1.1", "any.example.org", True),
        ("127.0.0.1", False, "127.0.0.1", "any.example.org", True),
        ("0.0.0.0/0,::/0", False, "224.0.0.1", "any.example.org", False),
        ("", True, "127.0.0.1", "any.example.org", True),
        ("", True, "::1", "any.example.org", True),
        ("", True, "10.0.0.1", "any.example.org", False),
    ],
)
def test_what_is_listed_may_be_reached_and_nothing_else(
    listed: str, loopback: bool, address: str, host: str, permitted: bool
) -> None:
    assert Allowed.of(listed, loopback=loopback).permits(ip_address(address), host) is permitted


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "https://idp.example.org", "idp.example.org:443"])
def test_an_entry_that_is_nothing_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=entry):
        Allowed.of(f"10.0.0.1, {entry}")


@pytest.mark.parametrize(
    ("url", "output"),
    [
        ("http://idp.example.org/events", "the scheme must be https"),
        ("ftp://idp.example.org/events", "the scheme must be https"),
        ("//idp.example.org/events", "the scheme must be https"),
        ("https:///events", "it must name a host"),
        ("https://idp.example.org:0/", "a valid port"),
        ("https://idp.example.org:65536/", "it cannot be parsed"),
        ("https://[::1/", "it cannot be parsed"),
        ("https://ana:secret@idp.example.org/", "no user name and no password"),
        ("https://idp.example.org/#here", "no fragment"),
        ("https://idp.example.org/a b", "without blanks"),
        ("https://idp.example.org\\@10.0.0.1/", "without blanks"),
        ("https://idp.example.org/\n", "ASCII characters"),
        ("https://bücher.example/", "ASCII characters"),
        (f"https://idp.example.org/{'a' * 2048}", "at most 2048 characters"),
        ("https://localhost/", "is this machine"),
        ("https://LOCALHOST./", "is this machine"),
        ("https://a.localhost:8443/", "is this machine"),
        *(
            (f"https://{host}/", "is not permitted")
            for host in (
                "127.0.0.1",
                "127.1",
                "2130706433",
                "0x7f000001",
                "0177.0.0.1",
                "10.0.0.1",
                "0",
                "169.254.169.254",
                "[::1]",
                "[fe80::1%25eth0]",
                "[::ffff:192.168.0.1]",
                "[64:ff9b::a00:1]",
            )
        ),
    ],
)
def test_an_address_of_the_web_that_must_not_be_pushed_to_is_refused_with_the_reason(url: str, output: str) -> None:
    with pytest.raises(ForbiddenUrlError, match=output):
        check_url(url, TransmitterSettings())


@pytest.mark.parametrize(
    "url",
    [
        "https://idp.example.org/events",
        "https://idp.example.org:443/events?tenant=acme",
        "https://8.8.8.8:8443/",
        "https://[2606:4700::1111]/",
        "https://10.1.2.3/listed",
    ],
)
def test_an_address_of_the_open_internet_or_a_listed_one_is_taken(url: str) -> None:
    check_url(url, TransmitterSettings(allow_hosts="10.1.2.3"))


@pytest.mark.parametrize("url", ["http://localhost:8080/", "http://127.0.0.1/", "https://[::1]/"])
def test_plain_http_and_this_machine_are_taken_for_trials_only(url: str) -> None:
    check_url(url, TransmitterSettings(allow_insecure=True))

    with pytest.raises(ForbiddenUrlError):
        check_url(url, TransmitterSettings())


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "odd"])
def test_no_socket_is_made_for_an_address_that_a_name_turns_out_to_be(address: str) -> None:
    make = socket_factory_for(Allowed(), "idp.example.org")

    with pytest.raises(ForbiddenAddressError, match="to which connecting is not permitted"):
        make((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 443)))


def test_a_socket_is_made_for_an_address_that_may_be_connected_to() -> None:
    with socket_factory_for(Allowed(), "idp.example.org")(
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 443))
    ) as made:
        assert (made.family, made.type) == (socket.AF_INET, socket.SOCK_STREAM)
