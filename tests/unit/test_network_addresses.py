"""Arithmetic of addresses: pools, gateways, overlaps, EUI-64, MAC addresses."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubelet.kernel.errors import ApiError
from nubelet.network import addresses


def pools(cidr: str, gateway: str | None) -> list[tuple[str, str]]:
    found = addresses.default_pools(ipaddress.ip_network(cidr), gateway)
    return [(str(pool.first), str(pool.last)) for pool in found]


def test_a_subnet_gives_out_all_but_network_broadcast_and_gateway() -> None:
    assert pools("10.0.0.0/24", "10.0.0.1") == [("10.0.0.2", "10.0.0.254")]
    assert pools("10.0.0.0/24", "10.0.0.100") == [
        ("10.0.0.1", "10.0.0.99"),
        ("10.0.0.101", "10.0.0.254"),
    ]
    assert pools("10.0.0.0/24", "10.0.0.254") == [("10.0.0.1", "10.0.0.253")]
    assert pools("10.0.0.0/24", None) == [("10.0.0.1", "10.0.0.254")]
    assert pools("10.0.0.0/24", "192.0.2.1") == [("10.0.0.1", "10.0.0.254")]


def test_small_subnets_have_no_network_and_broadcast_address() -> None:
    assert pools("10.0.0.0/31", "10.0.0.1") == [("10.0.0.0", "10.0.0.0")]
    assert pools("10.0.0.7/32", None) == [("10.0.0.7", "10.0.0.7")]
    assert pools("10.0.0.0/30", "10.0.0.1") == [("10.0.0.2", "10.0.0.2")]
    assert pools("fd00::/127", "fd00::1") == [("fd00::", "fd00::")]


def test_an_ipv6_subnet_keeps_the_subnet_router_address_and_has_no_broadcast() -> None:
    assert pools("fd00::/64", "fd00::1") == [("fd00::2", "fd00::ffff:ffff:ffff:ffff")]


@pytest.mark.parametrize(
    ("cidr", "gateway"),
    [
        ("10.0.0.0/24", "10.0.0.1"),
        ("10.0.0.0/31", "10.0.0.1"),
        ("10.0.0.7/32", None),
        ("fd00::/64", "fd00::1"),
        ("fd00::7/128", None),
    ],
)
def test_the_default_gateway_is_the_second_address(cidr: str, gateway: str | None) -> None:
    assert addresses.default_gateway(ipaddress.ip_network(cidr)) == gateway


def test_eui64_is_what_a_host_gives_itself() -> None:
    # RFC 4291, appendix A: the universal bit is turned over and fffe put into the middle.
    network = ipaddress.ip_network("2001:db8::/64")
    assert addresses.eui64(network, "fa:16:3e:00:00:01") == "2001:db8::f816:3eff:fe00:1"
    assert addresses.eui64(network, "00:00:5e:00:53:01") == "2001:db8::200:5eff:fe00:5301"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ([{"start": "10.0.0.9", "end": "10.0.0.3"}], "InvalidAllocationPool"),
        ([{"start": "10.0.0.9", "end": "10.0.1.3"}], "OutOfBoundsAllocationPool"),
        ([{"start": "10.0.0.0", "end": "10.0.0.3"}], "OutOfBoundsAllocationPool"),
        (
            [{"start": "10.0.0.5", "end": "10.0.0.9"}, {"start": "10.0.0.9", "end": "10.0.0.20"}],
            "OverlappingAllocationPools",
        ),
        ([{"start": "fd00::1", "end": "fd00::2"}], "InvalidAllocationPool"),
    ],
)
def test_crooked_pools_are_refused(given: list[dict[str, str]], kind: str) -> None:
    with pytest.raises(ApiError) as refusal:
        addresses.read_pools(given, ipaddress.ip_network("10.0.0.0/24"))
    assert refusal.value.code == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fa:16:3e",
        "fa:16:3e:00:00:0g",
        "00:00:00:00:00:00",
        "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
    ],
)
def test_what_is_no_hosts_mac_address_is_refused(text: str) -> None:
    with pytest.raises(ApiError):
        addresses.canonical_mac(text)


def test_mac_addresses_are_brought_to_one_form() -> None:
    assert addresses.canonical_mac("FA-16-3E-AA-BB-CC") == "fa:16:3e:aa:bb:cc"


@given(st.integers(16, 30), st.integers(0, 2**32 - 1), st.data())
def test_pools_and_gateway_never_meet_and_cover_the_subnet(
    length: int, start: int, data: st.DataObject
) -> None:
    cidr = ipaddress.ip_network((start, length), strict=False)
    usable = addresses.usable(cidr)
    index = data.draw(st.integers(0, usable.size - 1))
    gateway = usable.at(index)
    found = addresses.default_pools(cidr, gateway)
    assert sum(pool.size for pool in found) == usable.size - 1
    assert not any(ipaddress.ip_address(gateway) in pool for pool in found)


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**70), st.integers(0, 2**70))
def test_the_place_of_an_address_leads_back_to_it(first: int, length: int, place: int) -> None:
    first = min(first, 2**128 - 1 - length)
    pool = addresses.Pool(ipaddress.IPv6Address(first), ipaddress.IPv6Address(first + length))
    address = ipaddress.IPv6Address(min(first + place, 2**128 - 1))
    index = pool.index(address)
    if index is not None:
        assert pool.at(index) == str(address)
    else:
        assert place >= pool.size


def test_overlaps_are_found_within_one_ip_version_only() -> None:
    four, six = ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")
    inside = ipaddress.ip_network("10.9.0.0/16")
    assert addresses.overlapping([six, four], inside) == four
    assert addresses.overlapping([six], inside) is None
