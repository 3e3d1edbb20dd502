"""nftables rules as values, and the text of a transaction from one state of them to the next.

Pure: nothing here touches the host. A ruleset is a mapping from (table, name) to a chain or a
collection (set or map). `transition` writes the one transaction that makes the changed objects
so: a changed chain is emptied and refilled, a changed collection gets and loses single elements,
and what is gone goes last, when nothing refers to it any more. nft applies a file as a whole or
not at all, so a packet meets the old rules or the new ones, never half of them.

Read next: `nftables.py` (who feeds it to nft), `port_filters.py`, `nat.py` (who writes rules).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Key = tuple[str, str]  # table with its family ("inet nubelet"), name of the object


@dataclass(frozen=True)
class Chain:
    """Rules in their order. `hook` is the "type ... hook ... priority ..." of a base chain."""

    rules: tuple[str, ...]
    hook: str = ""


@dataclass(frozen=True)
class Collection:
    """A set, or a map where elements have values. `declaration`: its type and flags."""

    kind: str
    declaration: str
    elements: Mapping[str, str] = field(default_factory=dict)

    def body(self, keys: Iterable[str]) -> str:
        """The elements of these keys as nft writes them."""
        pairs = ((key, self.elements[key]) for key in sorted(keys))
        return ", ".join(f"{key} : {value}" if value else key for key, value in pairs)


Item = Chain | Collection
Ruleset = Mapping[Key, Item]
Changes = Mapping[Key, "Item | None"]  # None: remove it


def of_set(declaration: str, elements: Iterable[str] = ()) -> Collection:
    """A set."""
    return Collection("set", declaration, dict.fromkeys(elements, ""))


def of_map(declaration: str, elements: Mapping[str, str] | None = None) -> Collection:
    """A map."""
    return Collection("map", declaration, dict(elements or {}))


def apply(before: Ruleset, changes: Changes) -> dict[Key, Item]:
    """The ruleset after the changes."""
    after = dict(before)
    for key, item in changes.items():
        if item is None:
            after.pop(key, None)
        else:
            after[key] = item
    return after


def replacement(ruleset: Ruleset) -> str:
    """A transaction that has exactly this ruleset in its tables, whatever they held before."""
    tables = sorted({table for table, _ in ruleset})
    lines = []
    for table in tables:
        # Adding first makes the deletion valid where there is no such table.
        lines += [f"add table {table}", f"delete table {table}", f"add table {table}"]
    return "\n".join(lines) + "\n" + transition({}, ruleset)


def removal(tables: Iterable[str]) -> str:
    """A transaction after which these tables are gone."""
    return "".join(f"add table {table}\ndelete table {table}\n" for table in tables)


def transition(before: Ruleset, changes: Changes) -> str:
    """One transaction that makes `changes` on a host that carries `before`."""
    chains = {k: v for k, v in changes.items() if isinstance(v, Chain)}
    collections = {k: v for k, v in changes.items() if isinstance(v, Collection)}
    gone = {k: before[k] for k, v in changes.items() if v is None and k in before}
    gone_chains = [k for k, v in gone.items() if isinstance(v, Chain)]
    gone_collections = [k for k, v in gone.items() if isinstance(v, Collection)]
    lines: list[str] = []
    for (table, name), item in collections.items():
        lines.append(f"add {item.kind} {table} {name} {{ {item.declaration} }}")
    for (table, name), chain in chains.items():
        hook = f" {{ {chain.hook} }}" if chain.hook else ""
        lines.append(f"add chain {table} {name}{hook}")
    lines += [f"flush chain {table} {name}" for table, name in [*chains, *gone_chains]]
    lines += _element_lines(before, collections)
    for (table, name), chain in chains.items():
        lines += [f"add rule {table} {name} {rule}" for rule in chain.rules]
    # Verdict maps refer to chains, rules to collections: so this order.
    for table, name in _by_verdict(gone, gone_collections):
        kind = "map" if _is_map(gone[table, name]) else "set"
        lines.append(f"delete {kind} {table} {name}")
    lines += [f"delete chain {table} {name}" for table, name in gone_chains]
    return "".join(line + "\n" for line in lines)


def _element_lines(before: Ruleset, collections: Mapping[Key, Collection]) -> list[str]:
    removals, additions = [], []
    for key, item in collections.items():
        table, name = key
        former = before.get(key)
        known = former.elements if isinstance(former, Collection) else {}
        changed = {k for k, value in item.elements.items() if k in known and known[k] != value}
        stale = [k for k in known if k not in item.elements or k in changed]
        new = [k for k in item.elements if k not in known or k in changed]
        if stale and isinstance(former, Collection):
            removals.append(f"delete element {table} {name} {{ {former.body(stale)} }}")
        if new:
            additions.append(f"add element {table} {name} {{ {item.body(new)} }}")
    return removals + additions


def _by_verdict(gone: Mapping[Key, Item], keys: Iterable[Key]) -> list[Key]:
    """Verdict maps before other collections."""

    def rank(key: Key) -> bool:
        item = gone[key]
        return isinstance(item, Collection) and "verdict" not in item.declaration

    return sorted(keys, key=rank)


def _is_map(item: Item) -> bool:
    return isinstance(item, Collection) and item.kind == "map"
