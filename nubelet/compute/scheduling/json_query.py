"""The hint `query`: a small expression in JSON about a host.

    ["and", [">=", "$free_ram_mb", 1024], ["not", ["in", "$host", "a", "b"]]]

In OpenStack: nova/scheduler/filters/json_filter.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from nubelet.compute.scheduling.hosts import Host
from nubelet.kernel.errors import BadRequest

_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_MAX_DEPTH: Final = 20


def read(text: Any) -> Any:
    """The expression of a hint, given as JSON or as text of JSON; raises BadRequest."""
    try:
        parsed = msgspec.json.decode(text) if isinstance(text, str) else text
    except msgspec.DecodeError as error:
        raise BadRequest(f"Invalid input for scheduler hint query: {error}") from None
    if not _well_formed(parsed, 0):
        raise BadRequest(
            "Invalid input for scheduler hint query: an expression is a list whose "
            "first item is one of =, <, >, <=, >=, in, not, and, or."
        )
    return parsed


def _well_formed(part: Any, depth: int) -> bool:
    if not isinstance(part, list):
        return depth > 0 and isinstance(part, str | int | float | bool)
    return (
        depth < _MAX_DEPTH
        and len(part) > 1
        and part[0] in (*_COMPARE, "in", "not", "and", "or")
        and all(_well_formed(each, depth + 1) for each in part[1:])
    )


def holds(text: Any, host: Host) -> bool:
    """Does the expression hold for the host?"""
    return bool(_value(read(text), host))


def _value(part: Any, host: Host) -> Any:
    if isinstance(part, list):
        return _apply(part[0], [_value(each, host) for each in part[1:]])
    if isinstance(part, str) and part.startswith("$"):
        return _attribute(part[1:], host)
    return part


def _apply(name: str, values: list[Any]) -> bool:
    if name == "and":
        return all(values)
    if name == "or":
        return any(values)
    if name == "not":
        return not any(values)
    if name == "in":
        return values[0] in values[1:]
    try:
        return all(_COMPARE[name](values[0], other) for other in values[1:])
    except TypeError:  # None (an unknown attribute) or text against a number
        return False


def _attribute(name: str, host: Host) -> Any:
    known = {
        "host": host.name,
        "hypervisor_hostname": host.name,
        "free_ram_mb": host.free_memory_mb,
        "free_disk_mb": host.free_disk_gb * 1024,
        "total_usable_ram_mb": host.state["memory_mb"],
        "vcpus_total": host.state["vcpus"],
        "vcpus_used": host.used_vcpus,
        "num_instances": host.servers,
        "num_io_ops": host.busy_servers,
    }
    if name in known:
        return known[name]
    value: Any = host.state
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
