"""Who asks: the identity, scope, roles and API version of one request.

A `Context` is made once per request by `http/app.py` from the credentials that
`identity.authenticate` found, and is passed down to everything that acts for the caller.
Operations that run later get one from their journal row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from nubelet.kernel.errors import Forbidden

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud

Version = tuple[int, int]


class Credentials(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a valid token says of its bearer. Names of policy attributes follow oslo.policy."""

    user_id: str
    user_name: str = ""
    user_domain_id: str = ""
    user_domain_name: str = ""
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None
    system_scope: str | None = None
    roles: tuple[str, ...] = ()
    role_ids: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    audit_ids: tuple[str, ...] = ()
    issued_at: int = 0
    expires_at: int = 0
    is_admin_project: bool = True
    application_credential_id: str | None = None
    trust_id: str | None = None
    identity_provider_id: str | None = None  # of a federated login, like the two below
    protocol_id: str | None = None
    federated_group_ids: tuple[str, ...] = ()  # in which the user is by this login alone
    service_roles: tuple[str, ...] = ()  # roles of a valid X-Service-Token

    def as_policy(self) -> dict[str, Any]:
        """The flat mapping that policy rules look at."""
        return {
            "user_id": self.user_id,
            "user_domain_id": self.user_domain_id,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "project_domain_id": self.project_domain_id,
            "domain_id": self.domain_id,
            "system_scope": self.system_scope,
            "roles": self.roles,
            "is_admin": "admin" in self.roles,
            "is_admin_project": self.is_admin_project,
            "service_roles": self.service_roles,
            "trust.trust_id": self.trust_id,
        }


ANONYMOUS = Credentials(user_id="")


class Context:
    """One caller in one service at one API version."""

    __slots__ = (
        "cloud",
        "service",
        "credentials",
        "request_id",
        "global_request_id",
        "version",
        "rule",
        "only_reads",
        "authorized",
        "remote_address",
        "_policy_credentials",
        "base_url",
    )

    def __init__(
        self,
        cloud: Cloud,
        service: str,
        credentials: Credentials,
        *,
        request_id: str,
        global_request_id: str | None = None,
        version: Version = (0, 0),
        rule: str = "",
        remote_address: str = "",
        base_url: str = "",
        only_reads: bool = False,
    ) -> None:
        self.cloud = cloud
        self.service = service
        self.credentials = credentials
        self.request_id = request_id
        self.global_request_id = global_request_id
        self.version = version
        self.rule = rule
        self.only_reads = only_reads  # is it a request that changes nothing?
        self.authorized = False  # has any rule been enforced for this request?
        self.remote_address = remote_address
        self.base_url = base_url  # scheme://host:port of the cloud as the caller reached it
        self._policy_credentials: dict[str, Any] | None = None

    @property
    def user_id(self) -> str:
        return self.credentials.user_id

    @property
    def project_id(self) -> str | None:
        return self.credentials.project_id

    @property
    def roles(self) -> tuple[str, ...]:
        return self.credentials.roles

    @property
    def is_admin(self) -> bool:
        """Whether the service's `context_is_admin` rule holds: may see every project."""
        return self.allows("context_is_admin")

    def at_least(self, major: int, minor: int) -> bool:
        """Is the request's API version this one or newer?"""
        return self.version >= (major, minor)

    @property
    def policy_credentials(self) -> dict[str, Any]:
        if self._policy_credentials is None:
            self._policy_credentials = self.credentials.as_policy()
        return self._policy_credentials

    def own_target(self) -> dict[str, Any]:
        """The target of a rule that is about nobody else's thing."""
        return {
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "user_id": self.user_id,
            "domain_id": self.credentials.domain_id,
        }

    def allows(self, rule: str, target: Mapping[str, Any] | None = None) -> bool:
        """Would the rule allow this caller? (For optional fields and filters.)"""
        policy = self.cloud.policies[self.service]
        given = self.own_target() if target is None else target
        return policy.allows(rule, self.policy_credentials, given) or (
            self.only_reads and policy.allows_reading(rule, self.policy_credentials)
        )

    def authorize(self, rule: str = "", target: Mapping[str, Any] | None = None) -> None:
        """Raise `Forbidden` naming the rule unless it allows the caller.

        `rule` defaults to the route's; `target` holds at least `project_id` of the thing.
        """
        name = rule or self.rule
        if not self.allows(name, target):
            raise Forbidden(f"Policy doesn't allow {name} to be performed.", code=name)
        self.authorized = True

    def within(self, service: str, version: Version = (0, 0)) -> Context:
        """The same caller as another service sees it (its policy, its API version)."""
        other = Context(
            self.cloud,
            service,
            self.credentials,
            request_id=self.request_id,
            global_request_id=self.global_request_id,
            version=version,
            remote_address=self.remote_address,
            base_url=self.base_url,
            only_reads=self.only_reads,
        )
        other._policy_credentials = self._policy_credentials
        return other
