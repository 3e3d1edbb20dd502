"""What a search asks: groups of resources with conditions, and conditions on all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Names = frozenset[str]


@dataclass(frozen=True)
class Group:
    """Resources that are looked for together.

    suffix: "" is the group whose resources may come from several providers of a tree; those of
    any other group come from one provider. required: of each set the provider(s) must have one
    trait at least. member_of: of each set they must be in one aggregate at least. in_tree: a
    provider whose tree the resources must come from.
    """

    suffix: str
    resources: Mapping[str, int]
    required: tuple[Names, ...] = ()
    forbidden: Names = frozenset()
    member_of: tuple[Names, ...] = ()
    not_member_of: Names = frozenset()
    in_tree: str | None = None


@dataclass(frozen=True)
class Search:
    """A whole request.

    isolate: groups with a suffix take different providers. same_subtree: sets of suffixes whose
    providers must have one of them as ancestor. nested: may a candidate take from several
    providers of one tree?
    """

    groups: tuple[Group, ...]
    isolate: bool = False
    root_required: Names = frozenset()
    root_forbidden: Names = frozenset()
    same_subtree: tuple[Names, ...] = ()
    nested: bool = True
    limit: int | None = None
    resource_classes: Names = field(init=False)

    def __post_init__(self) -> None:
        names = frozenset(name for group in self.groups for name in group.resources)
        object.__setattr__(self, "resource_classes", names)

    @property
    def traits(self) -> set[str]:
        """All traits that matter."""
        found = set(self.root_required | self.root_forbidden)
        for group in self.groups:
            found.update(group.forbidden, *group.required)
        return found
