"""The first rows: what a new cloud needs before anybody can log in.

Running it again changes nothing but what is missing: endpoints of a service that is new, a role
that was not there. An administrator's later changes stay, the password too.

In OpenStack: keystone/cmd/bootstrap.py, and what every deployment tool adds after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from nubelet.identity import assignments, authenticator, catalog_file, revision
from nubelet.identity.assignments import SYSTEM_TARGET
from nubelet.identity.model import (
    endpoint,
    implied_role,
    password,
    project,
    region,
    role,
    service,
    user,
)
from nubelet.identity.projects import DEFAULT_DOMAIN
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.ids import new_hex

SERVICE_PROJECT = "service"
ROLES = ("admin", "manager", "member", "reader", "service")
# Roles bound to one thing: neither implied by another nor implying any, so that nobody gains by
# them but whom they were given to (docs/operating/personas.md). Identity has none: who hands out
# roles could take every other.
BOUND_ROLES = {
    "project_admin": "Manages the members, quotas and limits of one project, and nothing else.",
    "compute_admin": "Administrator of the compute service alone.",
    "image_admin": "Administrator of the image service alone.",
    "network_admin": "Administrator of the network service alone.",
    "placement_admin": "Administrator of the placement service alone.",
    "ResellerAdmin": "Administrator of the object store alone: owns every account.",
}
# Whoever has the first has the second.
IMPLIED = (("admin", "manager"), ("manager", "member"), ("member", "reader"))
INTERFACES = ("public", "internal", "admin")
# The names under which services stand in the catalogs of other clouds.
_CATALOG_NAMES = {
    "identity": "keystone",
    "compute": "nova",
    "image": "glance",
    "placement": "placement",
    "network": "neutron",
    "block-storage": "cinder",
    "volumev3": "cinderv3",
    "object-store": "swift",
    "orchestration": "heat",
    "cloudformation": "heat-cfn",
    "load-balancer": "octavia",
    "dns": "designate",
    "messaging": "zaqar",
    "metric": "gnocchi",
    "alarming": "aodh",
}


def bootstrap(cloud: Cloud, admin_password: str, region_id: str, base_url: str) -> None:
    """Make the default domain, the first user with every right, roles, services and endpoints.

    `base_url`: scheme://host:port under which the endpoints of the catalog begin, unless the
    catalog is read from a file.
    """
    names = cloud.settings.identity
    with cloud.database.read() as tx:
        exists = _find_user(tx, names.admin_user, DEFAULT_DOMAIN) is not None
    hashed = None if exists else authenticator.of(cloud).passwords.hash(admin_password)

    catalog = None if names.catalog_file == Path() else catalog_file.read(names.catalog_file)

    def write(tx: Tx) -> None:
        tx.lock("identity", "bootstrap")
        ensure_domain(tx, DEFAULT_DOMAIN, name="Default")
        for name in ROLES:
            ensure_role(tx, name)
        for name, description in BOUND_ROLES.items():
            ensure_role(tx, name, description)
        _ensure_implications(tx)
        project_id = ensure_project(tx, names.admin_project)
        ensure_project(tx, SERVICE_PROJECT)
        user_id = ensure_user(tx, names.admin_user, hashed=hashed)
        ensure_assignment(tx, user_id, "admin", project_id=project_id)
        ensure_assignment(tx, user_id, "admin", domain_id=DEFAULT_DOMAIN)
        ensure_assignment(tx, user_id, "admin", system=True)
        if catalog is not None:
            catalog_file.write(tx, catalog)
        else:
            _ensure_region(tx, region_id)
            for each in cloud.services.values():
                _ensure_service(
                    tx, each.type, each.title, region_id, base_url.rstrip("/") + each.endpoint
                )
        revision.bump(tx)

    cloud.database.transact(write)


def ensure_domain(tx: Tx, identifier: str, *, name: str = "") -> str:
    """The id of a domain of that id, made if need be (name: the id unless given)."""
    if tx.first(sa.select(project.c.id).where(project.c.id == identifier)) is None:
        tx.insert(
            project,
            id=identifier,
            name=name or identifier,
            domain_id=None,
            parent_id=None,
            is_domain=True,
            description="",
            enabled=True,
            options={},
            extra={},
            valid_from=0,
            created_at=clock.now(),
        )
    return identifier


def ensure_project(tx: Tx, name: str, domain_id: str = DEFAULT_DOMAIN) -> str:
    """The id of the project of that name in the domain, made if need be."""
    found = tx.scalar(
        sa.select(project.c.id).where(project.c.name == name, project.c.domain_id == domain_id)
    )
    if found is None:
        found = new_hex()
        tx.insert(
            project,
            id=found,
            name=name,
            domain_id=domain_id,
            parent_id=domain_id,
            is_domain=False,
            description="",
            enabled=True,
            options={},
            extra={},
            valid_from=0,
            created_at=clock.now(),
        )
    return str(found)


def ensure_user(
    tx: Tx, name: str, domain_id: str = DEFAULT_DOMAIN, *, hashed: str | None = None
) -> str:
    """The id of the user of that name in the domain, made if need be; `hashed` is the hash of a
    new user's password."""
    found = _find_user(tx, name, domain_id)
    if found is None:
        found, now = new_hex(), clock.now()
        tx.insert(
            user,
            id=found,
            name=name,
            domain_id=domain_id,
            enabled=True,
            default_project_id=None,
            options={},
            extra={},
            valid_from=0,
            created_at=now,
        )
        if hashed:
            tx.insert(password, user_id=found, hash=hashed, created_at=now)
    return found


def ensure_role(tx: Tx, name: str, description: str | None = None) -> str:
    """The id of the global role of that name, made if need be."""
    found = tx.scalar(sa.select(role.c.id).where(role.c.name == name, role.c.domain_id.is_(None)))
    if found is None:
        found = new_hex()
        tx.insert(
            role,
            id=found,
            name=name,
            domain_id=None,
            description=description,
            options={"immutable": True},
            extra={},
            created_at=clock.now(),
        )
    return str(found)


def ensure_assignment(
    tx: Tx,
    user_id: str,
    role_name: str,
    *,
    project_id: str | None = None,
    domain_id: str | None = None,
    system: bool = False,
) -> None:
    """Give a user a global role on a project, a domain or the system."""
    assert project_id or domain_id or system, "a role is held on something"
    target = (
        ("project", project_id)
        if project_id
        else ("domain", domain_id)
        if domain_id
        else ("system", SYSTEM_TARGET)
    )
    assignments.grant(tx, ("user", user_id), target, ensure_role(tx, role_name))
    revision.bump(tx)


def _find_user(tx: Tx, name: str, domain_id: str) -> str | None:
    found = tx.scalar(
        sa.select(user.c.id).where(user.c.name == name, user.c.domain_id == domain_id)
    )
    return None if found is None else str(found)


def _ensure_implications(tx: Tx) -> None:
    for prior, implied in IMPLIED:
        pair = {
            "prior_role_id": ensure_role(tx, prior),
            "implied_role_id": ensure_role(tx, implied),
        }
        if (
            tx.first(
                sa.select(implied_role).where(
                    *(implied_role.c[name] == value for name, value in pair.items())
                )
            )
            is None
        ):
            tx.insert(implied_role, pair)


def _ensure_region(tx: Tx, identifier: str) -> None:
    if tx.first(sa.select(region.c.id).where(region.c.id == identifier)) is None:
        tx.insert(
            region,
            id=identifier,
            description="",
            parent_region_id=None,
            extra={},
            created_at=clock.now(),
        )


def _ensure_service(tx: Tx, kind: str, title: str, region_id: str, url: str) -> None:
    service_id = tx.scalar(sa.select(service.c.id).where(service.c.type == kind))
    if service_id is None:
        service_id = new_hex()
        tx.insert(
            service,
            id=service_id,
            type=kind,
            name=_CATALOG_NAMES.get(kind, kind),
            enabled=True,
            extra={"description": title},
            created_at=clock.now(),
        )
    present: Sequence[str] = [
        row.interface
        for row in tx.all(
            sa.select(endpoint.c.interface).where(
                endpoint.c.service_id == service_id, endpoint.c.region_id == region_id
            )
        )
    ]
    for interface in INTERFACES:
        if interface not in present:
            tx.insert(
                endpoint,
                id=new_hex(),
                service_id=service_id,
                region_id=region_id,
                interface=interface,
                url=url,
                enabled=True,
                extra={},
                created_at=clock.now(),
            )
