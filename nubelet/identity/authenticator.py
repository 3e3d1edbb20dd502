"""From a token to credentials, on every request of every service.

The first look at a token opens it and asks the database what it is worth (validation.py, about
1.5 ms). The answer is kept under the token's digest with the revision of identity at that moment,
and is good until the revision moves (revision.py): a warm look costs a digest, a dictionary and
one statement.

In OpenStack: keystonemiddleware/auth_token, and the caches of keystone/token/provider.py.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, cast

import msgspec

from nubelet.identity import catalog, tokens, validation
from nubelet.identity.application_credentials import access_rules
from nubelet.identity.application_credentials.access_rules import Allowed
from nubelet.identity.directories.reading import Directories
from nubelet.identity.endpoint_filter.associations import visible
from nubelet.identity.federation import service_providers
from nubelet.identity.keys import KeyRing
from nubelet.identity.passwords import Passwords
from nubelet.identity.revision import RevisionReader
from nubelet.identity.sealing import CREDENTIAL_KEYS, DOMAIN_KEYS, Seal
from nubelet.identity.tokens import Origin, Token
from nubelet.identity.validation import Subject
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context, Credentials
from nubelet.kernel.errors import Unauthorized
from nubelet.kernel.http import certificates
from nubelet.kernel.http.app import Authenticator
from nubelet.kernel.http.messages import Request

# How long after its end a token still serves a request that a service makes for its user.
TOKEN_KEYS = "fernet-keys"  # noqa: S105 - the name of a folder
EXPIRED_GRACE_SECONDS = 2 * 24 * 3600
_CAPACITY = 5_000  # tokens, of a few kilobytes each once they were shown


def of(cloud: Cloud) -> TokenAuthenticator:
    """The authenticator that wiring provided."""
    return cast(TokenAuthenticator, cloud.get(Authenticator))  # type: ignore[type-abstract]


def rules_of_token(cloud: Cloud, token: str) -> Callable[[str], None] | None:
    """What asks the access rules of a token about further requests that its own one leads to, given
    as "METHOD service-type path": raises Unauthorized where no rule allows it. None where the token
    has no rules; raises Unauthorized for one that is not good."""
    authenticator = of(cloud)
    rules = authenticator.look_at(token).access_rules
    return None if rules is None else partial(authenticator.require_rule, rules)


def subject_of(ctx: Context, request: Request) -> Subject:
    """The bearer of the token that a request came with."""
    subject = of(ctx.cloud).look_at(request.headers["x-auth-token"]).subject
    assert subject is not None
    return subject


def _require_certificate(wanted: str, headers: Mapping[str, str]) -> None:
    """Raise Unauthorized unless the client holds the certificate that its token is bound to."""
    shown = certificates.read(headers)
    if shown is None or certificates.thumbprint(shown) != wanted:
        raise Unauthorized


_encode = msgspec.json.Encoder().encode


class Known:
    """A token that was looked at."""

    __slots__ = (
        "access_rules",
        "bodies",
        "credentials",
        "expires_at",
        "refused",
        "revision",
        "subject",
        "thumbprint",
    )

    def __init__(self, revision: int, subject: Subject | None) -> None:
        self.revision = revision
        self.refused = subject is None
        self.subject = subject
        self.credentials = validation.credentials(subject) if subject else None
        self.expires_at = subject.token.expires_at if subject else 0
        self.thumbprint = subject.token.origin.thumbprint if subject else ""
        self.access_rules = subject.binding.access_rules if subject and subject.binding else None
        self.bodies: dict[bool, bytes] = {}


class TokenAuthenticator:
    """Authenticates requests (kernel/http/app.py), and validates tokens for the identity API."""

    def __init__(self, cloud: Cloud) -> None:
        settings = cloud.settings
        lifetime = settings.identity.token_lifetime_seconds
        self.passwords = Passwords(
            settings.identity.password_hash, settings.identity.password_hash_cost
        )
        self.keys = KeyRing(
            settings.state_dir / TOKEN_KEYS, keep_seconds=lifetime + EXPIRED_GRACE_SECONDS
        )
        self._state_dir = settings.state_dir
        self.read_revision = RevisionReader(cloud.database)
        self.directories = Directories()
        self._database = cloud.database
        self._mounts: dict[str, tuple[str, ...]] = {
            service.type: (service.mount, *service.aliases) for service in cloud.services.values()
        }
        # By user, project and origin: the revision, and the worth then (credentials/ec2.py).
        self.bearers_of_keys: dict[tuple[str, str, Origin], tuple[int, Subject, Credentials]] = {}
        self._known: dict[bytes, Known] = {}
        self._catalog: tuple[int, list[dict[str, Any]], dict[str, frozenset[str]]] = (-1, [], {})
        self._elsewhere: tuple[int, list[dict[str, str]]] = (-1, [])
        self._lock = threading.Lock()

    @cached_property
    def seal_of_secrets(self) -> Seal:
        """What seals the secrets that identity must read again."""
        return Seal(self._state_dir, CREDENTIAL_KEYS)

    @cached_property
    def seal_of_domains(self) -> Seal:
        """What seals the secrets in the configuration of domains."""
        return Seal(self._state_dir, DOMAIN_KEYS)

    def authenticate(self, token: str, headers: Mapping[str, str], route: str) -> Credentials:
        """What the bearer of `token` may claim; raises Unauthorized.

        A valid X-Service-Token adds its roles as `service_roles`; with the role `service` among
        them, the user's own token may have expired a while ago, and its access rules do not count:
        what a service asks on behalf of an allowed request is allowed.
        """
        known = self.look_at(token)
        assert known.credentials is not None
        if known.thumbprint:
            _require_certificate(known.thumbprint, headers)
        service_token = headers.get("x-service-token")
        if service_token is None:
            if known.expires_at <= clock.now():
                raise Unauthorized
            if known.access_rules is not None:
                self.require_rule(known.access_rules, route)
            return known.credentials
        service = self.look_at(service_token).credentials
        now = clock.now()
        if service is None or service.expires_at <= now:
            raise Unauthorized
        is_service = "service" in service.roles
        grace = EXPIRED_GRACE_SECONDS * 1_000_000 if is_service else 0
        if known.expires_at + grace <= now:
            raise Unauthorized
        if known.access_rules is not None and not is_service:
            self.require_rule(known.access_rules, route)
        return msgspec.structs.replace(known.credentials, service_roles=service.roles)

    def require_rule(self, rules: tuple[Allowed, ...], route: str) -> None:
        """Raise Unauthorized unless an access rule allows the request. Validating the token itself
        needs none: how else would a service learn the rules?"""
        method, service, path = route.split(" ", 2) if route else ("", "", "")
        mounts = [mount.rstrip("/") for mount in self._mounts.get(service, ())]
        paths = [path, *(path[len(each) :] for each in mounts if path.startswith(f"{each}/"))]
        if (method, service, paths[-1]) == ("GET", "identity", "/v3/auth/tokens"):
            return
        if not access_rules.permits(rules, method, service, paths):
            raise Unauthorized

    def look_at(self, text: str) -> Known:
        """A token that is good as far as everything but the clock goes; raises Unauthorized."""
        revision = self.read_revision()
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=20).digest()
        known = self._known.get(digest)
        if known is None or known.revision != revision:
            known = self._examine(text, revision)
            if len(self._known) >= _CAPACITY:
                self._shrink()
            self._known[digest] = known
        if known.refused:
            raise Unauthorized
        return known

    def body(self, known: Known, *, with_catalog: bool = True) -> bytes:
        """The token as the API shows it, in JSON."""
        found = known.bodies.get(with_catalog)
        if found is None:
            subject = known.subject
            assert subject is not None
            services = self.catalog(subject) if with_catalog else None
            shown = validation.body(subject, services, self._service_providers())
            found = known.bodies[with_catalog] = _encode(shown)
        return found

    def _service_providers(self) -> list[dict[str, str]]:
        """The other clouds that tokens tell of."""
        revision = self.read_revision()
        if self._elsewhere[0] != revision:
            with self._database.read() as tx:
                self._elsewhere = (revision, service_providers.for_tokens(tx))
        return self._elsewhere[1]

    def catalog(self, subject: Subject) -> list[dict[str, Any]]:
        """The catalog as the bearer sees it."""
        revision = self.read_revision()
        if self._catalog[0] != revision:
            with self._database.read() as tx:
                self._catalog = (revision, catalog.load(tx), visible(tx))
        _, services, seen = self._catalog
        scope = subject.token.scope
        project_id = scope.id if scope.kind == "project" else None
        return catalog.fill(
            services, subject.user_id, project_id, seen.get(project_id) if project_id else None
        )

    def seal(self, token: Token) -> str:
        """The text of a new token."""
        return tokens.seal(self.keys, token)

    def _examine(self, text: str, revision: int) -> Known:
        # The revision was read before: what is seen now may be newer, never older than it says.
        token = tokens.unseal(self.keys, text)
        if token.expires_at + EXPIRED_GRACE_SECONDS * 1_000_000 <= clock.now():
            raise Unauthorized
        try:
            with self._database.read() as tx:
                return Known(revision, validation.examine(tx, token))
        except Unauthorized:
            return Known(revision, None)

    def _shrink(self) -> None:
        with self._lock:
            for digest in list(self._known)[: _CAPACITY // 4]:  # the oldest
                self._known.pop(digest, None)

    def close(self) -> None:
        """Close the connections."""
        self.read_revision.close()
