"""Choosing hosts: what each filter says, how weights rank, what comparing extra specs mean."""

from __future__ import annotations

from typing import Any

import pytest

from nubelet.compute.scheduling import filters, json_query, weights
from nubelet.compute.scheduling.choose import NoValidHost
from nubelet.compute.scheduling.hosts import Host
from nubelet.compute.scheduling.operators import matches
from nubelet.compute.scheduling.request import (
    Group,
    HostRequest,
    resources_of,
    traits_of,
)
from nubelet.kernel.errors import BadRequest

STATE = {
    "memory_mb": 4096,
    "vcpus": 8,
    "free_disk_gb": 50,
    "hypervisor_type": "QEMU",
    "cpu_arch": "x86_64",
    "ip": "192.0.2.10",
    "hypervisor_version": 9000000,
}


def host(name: str = "a", **fields: Any) -> Host:
    given: dict[str, Any] = {
        "name": name,
        "provider_id": f"p-{name}",
        "up": True,
        "seen_at": 0,
        "forced_down": False,
        "disabled": False,
        "disabled_reason": "",
        "zone": "nova",
        "state": STATE,
    }
    return Host(**(given | fields))


def request(**fields: Any) -> HostRequest:
    given: dict[str, Any] = {
        "server_id": "s",
        "project_id": "one",
        "user_id": "u",
        "resources": {"VCPU": 1},
    }
    return HostRequest(**(given | fields))


CASES = [
    ({}, {}, ""),
    ({"up": False}, {}, "service down since 1970-01-01T00:00:00Z"),
    ({"forced_down": True}, {}, "service forced down by an administrator"),
    ({"disabled": True, "disabled_reason": "disks"}, {}, "service disabled: disks"),
    ({"disabled": True}, {}, "service disabled"),
    ({"zone": "east"}, {"zone": "east"}, ""),
    ({"zone": "nova"}, {"zone": "east"}, "in availability zone nova, not east"),
    ({}, {"host": "b"}, "not the requested host b"),
    ({}, {"refused": {"a": "the disk is full"}}, "the disk is full"),
    ({"aggregates": ({"filter_tenant_id": "two"},)}, {}, "kept for other projects"),
    ({"aggregates": ({"filter_tenant_id": "two, one"},)}, {}, ""),
    (
        {"aggregates": ({"trait:CUSTOM_GPU": "required"},)},
        {},
        "kept for servers that require trait:CUSTOM_GPU",
    ),
    (
        {"aggregates": ({"trait:CUSTOM_GPU": "required"},)},
        {"required": frozenset(["CUSTOM_GPU"])},
        "",
    ),
    (
        {"aggregates": ({"ssd": "true"},)},
        {"extra_specs": {"aggregate_instance_extra_specs:ssd": "true"}},
        "",
    ),
    (
        {"aggregates": ({"ssd": "false"},)},
        {"extra_specs": {"aggregate_instance_extra_specs:ssd": "true"}},
        "its aggregates have false for ssd, the flavor wants true",
    ),
    (
        {},
        {"extra_specs": {"aggregate_instance_extra_specs:ssd": "true"}},
        "its aggregates have nothing for ssd, the flavor wants true",
    ),
    ({}, {"extra_specs": {"capabilities:hypervisor_type": "s== QEMU"}}, ""),
    (
        {},
        {"extra_specs": {"capabilities:vcpus": ">= 9"}},
        "capabilities:vcpus is 8, the flavor wants >= 9",
    ),
    ({}, {"image_properties": {"hw_architecture": "amd64"}}, ""),
    (
        {},
        {"image_properties": {"hw_architecture": "aarch64"}},
        "architecture x86_64, the image needs aarch64",
    ),
    ({}, {"image_properties": {"img_hv_type": "kvm"}}, ""),
    (
        {},
        {"image_properties": {"img_hv_type": "hyperv"}},
        "hypervisor QEMU, the image needs hyperv",
    ),
    (
        {},
        {"group": Group("g", "anti-affinity", None, {"a": 1})},
        "has 1 of at most 1 servers of group g (anti-affinity)",
    ),
    ({}, {"group": Group("g", "anti-affinity", 2, {"a": 1})}, ""),
    (
        {},
        {"group": Group("g", "affinity", None, {"b": 1})},
        "the other servers of group g are on b (affinity)",
    ),
    ({}, {"group": Group("g", "affinity", None, {})}, ""),
    ({}, {"group": Group("g", "soft-anti-affinity", None, {"a": 3})}, ""),
    ({}, {"same_host": {"x": "b"}}, "none of the servers of the hint same_host is there"),
    ({}, {"same_host": {"x": "a", "y": "b"}}, ""),
    ({}, {"different_host": {"x": "a"}}, "server x of the hint different_host is there"),
    ({}, {"different_host": {"x": "b", "y": None}}, ""),
    ({}, {"hints": {"build_near_host_ip": "192.0.2.77"}}, ""),
    (
        {},
        {"hints": {"build_near_host_ip": "192.0.3.1", "cidr": "/24"}},
        "its address is not in 192.0.3.0/24",
    ),
    ({}, {"hints": {"query": '[">=", "$free_ram_mb", 1024]'}}, ""),
    (
        {},
        {"hints": {"query": '["<", "$free_ram_mb", 1024]'}},
        'does not match the hint query ["<", "$free_ram_mb", 1024]',
    ),
]


@pytest.mark.parametrize(("about", "asked", "reason"), CASES)
def test_filters_say_why(about: dict[str, Any], asked: dict[str, Any], reason: str) -> None:
    assert filters.reason_against(host(**about), request(**asked)) == reason


def test_a_forced_host_skips_filters_but_not_its_own_refusal() -> None:
    disabled = host(disabled=True, zone="west")
    assert not filters.reason_against(disabled, request(host="a", zone="east", forced=True))
    assert (
        filters.reason_against(disabled, request(host="a", forced=True, refused={"a": "full"}))
        == "full"
    )


@pytest.mark.parametrize(
    ("value", "wanted", "holds"),
    [
        ("4", "4", True),
        ("4", "5", False),
        ("8", ">= 4", True),
        ("2", ">= 4", False),
        ("8", "= 4", True),
        ("4", "== 4.0", True),
        ("4", "!= 4", False),
        ("abc", "s== abc", True),
        ("abc", "s!= abc", False),
        ("b", "s> a", True),
        ("xyz", "<in> y", True),
        ("xyz", "<all-in> x z", True),
        ("xyz", "<all-in> x q", False),
        ("b", "<or> a <or> b", True),
        ("c", "<or> a <or> b", False),
        (None, "anything", False),
        ("text", ">= 4", False),
    ],
)
def test_comparing_extra_specs(value: str | None, wanted: str, holds: bool) -> None:
    assert matches(value, wanted) is holds


def test_weights_prefer_free_memory_and_avoid_busy_hosts() -> None:
    full, free = host("full", used_memory_mb=4000), host("free")
    assert [each.name for each, _ in weights.rank([full, free], request(), {})] == ["free", "full"]
    stacked = weights.rank([full, free], request(), {"ram": -1.0, "cpu": 0.0})
    assert [each.name for each, _ in stacked] == ["full", "free"]
    busy, calm = host("busy", busy_servers=3), host("calm")
    assert next(each.name for each, _ in weights.rank([busy, calm], request(), {})) == "calm"


def test_soft_policies_weigh() -> None:
    a, b = host("a"), host("b")
    near = request(group=Group("g", "soft-affinity", None, {"b": 1}))
    far = request(group=Group("g", "soft-anti-affinity", None, {"a": 1}))
    assert weights.rank([a, b], near, {})[0][0].name == "b"
    assert weights.rank([a, b], far, {})[0][0].name == "b"


def test_among_equals_the_host_with_fewer_servers_wins() -> None:
    a, b = host("a", servers=2), host("b", servers=1)
    assert weights.rank([a, b], request(), {})[0][0].name == "b"


FLAVOR = {
    "vcpus": 2,
    "memory_mb": 1024,
    "root_gb": 10,
    "ephemeral_gb": 5,
    "swap_mb": 1500,
    "extra_specs": {},
}


def test_resources_of_a_flavor() -> None:
    assert resources_of(FLAVOR, []) == {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 17}
    custom = FLAVOR | {
        "extra_specs": {
            "resources:VCPU": "0",
            "resources:CUSTOM_FPGA": "1",
            "hw:cpu_policy": "shared",
        }
    }
    assert resources_of(custom, []) == {"MEMORY_MB": 1024, "DISK_GB": 17, "CUSTOM_FPGA": 1}


def test_traits_of_flavor_and_image() -> None:
    required, forbidden = traits_of(
        {"trait:HW_CPU_X86_AVX2": "required"}, {"trait:CUSTOM_OLD": "forbidden", "os_type": "linux"}
    )
    assert (required, forbidden) == ({"HW_CPU_X86_AVX2"}, {"CUSTOM_OLD"})


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        (["and", [">=", "$free_ram_mb", 1024], ["not", ["in", "$host", "b", "c"]]], True),
        (["or", ["=", "$host", "b"], ["=", "$vcpus_total", 8]], True),
        (["<", "$no.such.attribute", 5], False),
        (["=", "$hypervisor_type", "QEMU"], True),
    ],
)
def test_json_queries(query: Any, holds: bool) -> None:
    assert json_query.holds(query, host()) is holds


@pytest.mark.parametrize("query", ["[", '["exec", "x"]', '"text"', "{}", '["and"]'])
def test_malformed_json_queries_are_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        json_query.read(query)


def test_a_reason_that_many_hosts_have_is_told_once() -> None:
    few = NoValidHost({"a": "service disabled", "b": "service disabled"})
    assert few.message == "No valid host was found. a: service disabled; b: service disabled"
    full = "not enough memory: needs 2048 MiB, free 12 MiB"
    many = NoValidHost({f"host-{number:02}": full for number in range(12)} | {"z": "is down"})
    names = ", ".join(f"host-{number:02}" for number in range(12))
    assert many.message == f"No valid host was found. {names}: {full}; z: is down"
    assert len(many.message) <= 255
