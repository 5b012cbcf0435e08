"""A network has one name, however a producer writes its addresses, and what a former version stored stays known."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from models.events.networks import network_name
from pipeline.contexts.network_names import as_named_now
from pipeline.contexts.principal.state import KnownValue, PrincipalState


@pytest.mark.parametrize(
    ("ip", "name"),
    [
        ("192.0.2.7", "192.0.2"),
        ("::ffff:192.0.2.7", "192.0.2"),
        ("::ffff:c000:207", "192.0.2"),
        ("2001:db8::5", "2001:db8:0"),
        ("2001:0db8:0000:1::5", "2001:db8:0"),
        ("2001:DB8:0:1:0:0:0:5", "2001:db8:0"),
        ("2001:db8:1::5", "2001:db8:1"),
        ("fe80::1%eth0", "fe80:0:0"),
        ("::1", "0:0:0"),
        ("a host", "a host"),
    ],
)
def test_however_an_address_is_written_its_network_has_one_name(ip: str, name: str) -> None:
    assert network_name(ip, None) == name


@given(st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_two_ipv6_addresses_are_of_one_network_if_they_share_48_bits(one: IPv6Address, other: IPv6Address) -> None:
    if one.ipv4_mapped or other.ipv4_mapped:
        return
    together = other in ip_network((one, 48), strict=False)
    names = {network_name(text, None) for text in (one.exploded, one.compressed, str(one).upper())}
    assert len(names) == 1
    assert (network_name(str(other), None) in names) == together


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_two_ipv4_addresses_are_of_one_network_if_they_share_24_bits(one: IPv4Address, other: IPv4Address) -> None:
    together = other in ip_network((one, 24), strict=False)
    assert (network_name(str(one), None) == network_name(f"::ffff:{other}", None)) == together


@given(st.ip_addresses(v=6))
def test_names_that_a_former_version_cut_from_text_become_the_present_ones(address: IPv6Address) -> None:
    for text in (address.exploded, address.compressed):
        cut = ":".join(text.split(":")[:3])
        if "::" not in cut:  # of "::ffff" nobody knows any more whose it was
            assert as_named_now(cut) == network_name(f"{cut.rstrip(':')}::", None)
    assert as_named_now(network_name(str(address), None) or "") == network_name(str(address), None)


def test_what_a_principal_knew_by_former_names_it_knows_by_the_present_ones() -> None:
    stored = {
        "habits": {"asn": {"as64500": (1, ""), "2001:db8:": (2, "s-1"), "192.0.2": (3, "")}},
        "homes": {"2001:0db8:7": "s-2"},
    }
    principal = TypeAdapter(PrincipalState).validate_python(stored)
    assert principal.known["asn"] == {
        "as64500": KnownValue(1, ""),
        "2001:db8:0": KnownValue(2, "s-1"),
        "192.0.2": KnownValue(3, ""),
    }
    assert principal.homes == {"2001:db8:7": "s-2"}
