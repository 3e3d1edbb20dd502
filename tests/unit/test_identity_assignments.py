"""What follows from assignments, asked of random worlds and compared with the plainest reading:
walk up the tree, look at every assignment, follow every implication."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from nubelet.identity import assignments, listing, model
from nubelet.identity.listing import Filters
from nubelet.identity.tokens import SYSTEM, Scope
from nubelet.kernel.database import Database
from tests import databases

DOMAINS = ("d1", "d2")
USERS = ("u1", "u2", "u3")
GROUPS = ("g1", "g2")
ROLES = ("r1", "r2", "r3", "r4", "r5")
DOMAIN_ROLE = "r5"  # belongs to d1


@dataclass
class World:
    parents: dict[str, str]  # project -> parent
    members: set[tuple[str, str]]  # (group, user)
    implied: set[tuple[str, str]]
    held: set[tuple[str, str, str, str, str, bool]] = field(default_factory=set)

    def above(self, project: str) -> list[str]:
        found = []
        while project in self.parents:
            project = self.parents[project]
            found.append(project)
        return found

    def roles(self, user: str, kind: str, place: str) -> set[str]:
        """The plainest reading of the documentation."""
        direct = set()
        for actor_type, actor, target_type, target, role, inherited in self.held:
            is_actor = actor == user if actor_type == "user" else (actor, user) in self.members
            here = (target_type, target) == (kind, place) and not inherited
            from_above = inherited and kind == "project" and target in self.above(place)
            if is_actor and (here or from_above):
                direct.add(role)
        while True:
            more = {implied for prior, implied in self.implied if prior in direct} - direct
            if not more:
                return direct - {DOMAIN_ROLE}
            direct |= more


@st.composite
def worlds(draw) -> World:
    parents: dict[str, str] = {}
    for number in range(draw(st.integers(1, 6))):
        parents[f"p{number}"] = draw(st.sampled_from([*DOMAINS, *parents]))
    world = World(
        parents,
        draw(st.sets(st.tuples(st.sampled_from(GROUPS), st.sampled_from(USERS)))),
        draw(st.sets(st.tuples(st.sampled_from(ROLES), st.sampled_from(ROLES)), max_size=5)),
    )
    for _ in range(draw(st.integers(0, 8))):
        actor_type = draw(st.sampled_from(("user", "group")))
        target_type = draw(st.sampled_from(("project", "domain", "system")))
        target = draw(
            st.sampled_from(
                {"project": tuple(parents), "domain": DOMAINS, "system": ("system",)}[target_type]
            )
        )
        world.held.add(
            (
                actor_type,
                draw(st.sampled_from(USERS if actor_type == "user" else GROUPS)),
                target_type,
                target,
                draw(st.sampled_from(ROLES)),
                target_type != "system" and draw(st.booleans()),
            )
        )
    return world


class _Undo(Exception):
    pass


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    database = Database(databases.sqlite_url(tmp_path_factory.mktemp("db") / "identity.sqlite"))
    yield database
    database.close()


def write(tx, world: World) -> None:
    common = {"enabled": True, "options": {}, "extra": {}, "valid_from": 0, "created_at": 0}
    project = {**common, "description": ""}
    for domain in DOMAINS:
        tx.insert(model.project, id=domain, name=domain, is_domain=True, **project)
    for each, parent in world.parents.items():
        tx.insert(
            model.project,
            id=each,
            name=each,
            domain_id=[each, *world.above(each)][-1],
            parent_id=parent,
            is_domain=False,
            **project,
        )
    for user in USERS:
        tx.insert(model.user, id=user, name=user, domain_id="d1", **common)
    for group in GROUPS:
        tx.insert(
            model.group,
            id=group,
            name=group,
            domain_id="d1",
            description="",
            extra={},
            created_at=0,
        )
    for role in ROLES:
        tx.insert(
            model.role,
            id=role,
            name=role,
            options={},
            extra={},
            created_at=0,
            domain_id="d1" if role == DOMAIN_ROLE else None,
        )
    for group, user in world.members:
        tx.insert(model.membership, group_id=group, user_id=user)
    for prior, implied in world.implied:
        tx.insert(model.implied_role, prior_role_id=prior, implied_role_id=implied)
    for row in world.held:
        tx.insert(
            model.assignment,
            dict(
                zip(
                    ("actor_type", "actor_id", "target_type", "target_id", "role_id", "inherited"),
                    row,
                    strict=True,
                )
            ),
        )


def in_world(database, world, check) -> None:
    with contextlib.suppress(_Undo), database.write() as tx:
        write(tx, world)
        check(tx)
        raise _Undo


def places(world: World) -> list[Scope]:
    return [
        SYSTEM,
        *(Scope("domain", each) for each in DOMAINS),
        *(Scope("project", each) for each in world.parents),
    ]


@settings(max_examples=80, deadline=None)
@given(world=worlds())
def test_roles_of_tokens(empty, world):
    def check(tx):
        for user in USERS:
            for scope in places(world):
                expected = world.roles(user, scope.kind, scope.id or "system")
                assert {role.id for role in assignments.roles_in(tx, user, scope)} == expected

    in_world(empty, world, check)


@settings(max_examples=60, deadline=None)
@given(world=worlds())
def test_the_effective_list_says_what_tokens_say(empty, world):
    def check(tx):
        rows = listing.effective(tx, Filters())
        listed = {(row.actor_id, row.target_type, row.target_id, row.role_id) for row in rows}
        expected = {
            (user, scope.kind, scope.id or "system", role)
            for user in USERS
            for scope in places(world)
            for role in world.roles(user, scope.kind, scope.id or "system")
        }
        assert listed == expected
        for filters in (
            Filters(user_id="u1"),
            Filters(role_id="r2"),
            Filters(domain_id="d1"),
            Filters(system=True),
            Filters(projects=["p0"]),
            Filters(inherited=True),
            Filters(user_id="u2", projects=["p0"]),
        ):
            assert set(listing.effective(tx, filters)) == {
                row for row in rows if listing._fits(row, filters)
            }, filters

    in_world(empty, world, check)


@settings(max_examples=60, deadline=None)
@given(world=worlds())
def test_projects_and_domains_that_can_be_scoped_to(empty, world):
    def check(tx):
        for user in USERS:
            held = {
                (target_type, target)
                for actor_type, actor, target_type, target, _, inherited in world.held
                if not inherited and (actor == user or (actor, user) in world.members)
            }
            above = {
                target
                for _, actor, _, target, _, inherited in world.held
                if inherited and (actor == user or (actor, user) in world.members)
            }
            mine = {
                row.id
                for row in tx.all(
                    sa.select(model.project.c.id).where(assignments.projects_of(tx, user))
                )
            }
            assert mine == {
                each
                for each in world.parents
                if ("project", each) in held or above & set(world.above(each))
            }
            domains = {
                row.id
                for row in tx.all(
                    sa.select(model.project.c.id).where(assignments.domains_of(tx, user))
                )
            }
            assert domains == {each for each in DOMAINS if ("domain", each) in held}

    in_world(empty, world, check)


@settings(max_examples=40, deadline=None)
@given(world=worlds())
def test_the_tree(empty, world):
    def check(tx):
        for each in world.parents:
            assert assignments.ancestors(tx, each) == world.above(each)
            below = {row.id for row in tx.all(assignments.descendants([each]))}
            assert below == {other for other in world.parents if each in world.above(other)}

    in_world(empty, world, check)


def test_the_effective_list_keeps_where_a_role_comes_from(empty):
    world = World(
        {"p0": "d1", "p1": "p0"},
        {("g1", "u1")},
        {("r1", "r2")},
        {("group", "g1", "domain", "d1", "r1", True)},
    )

    def check(tx):
        [row] = listing.effective(tx, Filters(user_id="u1", role_id="r2", projects=["p1"]))
        assert (row.group_id, row.prior_role_id, row.inherited) == ("g1", "r1", True)
        assert (row.made.target_type, row.made.target_id, row.made.actor_id) == (
            "domain",
            "d1",
            "g1",
        )

    in_world(empty, world, check)
