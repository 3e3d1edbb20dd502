"""EC2 credentials at work: whose a signed request is, and what it may do.

A service that serves requests signed with EC2 or S3 keys finds the key (`find`), checks the
signature with its secret, and asks what its bearer is worth (`authorize`). Services outside of this
cloud's processes send the signature to `/v3/ec2tokens` or `/v3/s3tokens` and get a token
(`log_in`). A key is worth what its user is in its one project now, and no more than the delegation
that it was made under.

In OpenStack: keystone/api/_shared/EC2_S3_Resource.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nubelet.identity import authentication, authenticator, revision, validation
from nubelet.identity.authentication import Proof
from nubelet.identity.credentials import credentials
from nubelet.identity.tokens import Origin, Scope, Token, new_audit_id
from nubelet.identity.validation import Subject
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Credentials
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound, Unauthorized

METHOD = "ec2credential"
_CAPACITY = 5_000  # keys whose bearers are remembered


class Ec2Credential(NamedTuple):
    """A key of a user for a project. Its secret signs requests: never show or log it."""

    access: str
    secret: str
    user_id: str
    project_id: str
    origin: Origin


def find(cloud: Cloud, tx: Tx, access: str) -> Ec2Credential | None:
    """The credential of an access key, in the caller's transaction; None where there is none. Says
    nothing of whether it is still good for anything."""
    row = credentials.find_ec2(tx, access)
    if row is None:
        return None
    blob = authenticator.of(cloud).seal_of_secrets.open(row.blob)
    if blob is None:
        return None
    secret = credentials.read_ec2(blob)
    origin = Origin(
        trust_id=row.trust_id or "",
        application_credential_id=row.application_credential_id or "",
        access_token_id=row.access_token_id or "",
    )
    if not secret.get("secret"):
        return None
    return Ec2Credential(access, secret["secret"], row.user_id, row.project_id, origin)


def authorize(cloud: Cloud, tx: Tx, found: Ec2Credential, route: str) -> Credentials:
    """What the bearer of a key may claim, in the caller's transaction; raises Unauthorized.

    Check the signature before. `route` is "METHOD service-type path", for access rules: those of an
    application credential that the key was made with hold for it, too.
    """
    subject, worth = _remembered(cloud, tx, found)
    if subject.binding is not None:
        if subject.binding.ends_at is not None and subject.binding.ends_at <= clock.now():
            raise Unauthorized
        if subject.binding.access_rules is not None:
            authenticator.of(cloud).require_rule(subject.binding.access_rules, route)
    return worth


def log_in(cloud: Cloud, access: str, is_signed: Callable[[str], bool]) -> str:
    """A token for a signed request. `is_signed(secret)`: is the signature made with it? Raises
    NotFound for an unknown access key, Unauthorized for all else."""
    with cloud.database.read() as tx:
        found = find(cloud, tx, access)
        if found is None:
            raise NotFound(message="EC2 access key not found.")
        if not is_signed(found.secret):
            raise Unauthorized
        binding = _examine(cloud, tx, found).binding
    ends_at = binding.ends_at if binding else None
    proof = Proof(found.user_id, (METHOD,), origin=found.origin, expires_at=ends_at)
    return authentication.issue(cloud, proof, Scope("project", found.project_id))


def _remembered(cloud: Cloud, tx: Tx, found: Ec2Credential) -> tuple[Subject, Credentials]:
    """What was found out before, if identity has not changed since: a signed request then costs
    two statements. The revision is read in the caller's snapshot: what is kept is never older."""
    remembered = authenticator.of(cloud).bearers_of_keys
    key = (found.user_id, found.project_id, found.origin)
    now_at, known = revision.read(tx), remembered.get(key)
    if known is None or known[0] != now_at or known[1].token.expires_at <= clock.now():
        subject = _examine(cloud, tx, found)
        known = (now_at, subject, validation.credentials(subject))
        if len(remembered) >= _CAPACITY:
            remembered.clear()
        remembered[key] = known
    return known[1], known[2]


def _examine(cloud: Cloud, tx: Tx, found: Ec2Credential) -> Subject:
    """The bearer of a key as of a token that was made now; raises Unauthorized."""
    now = clock.now()
    token = Token(
        user_id=found.user_id,
        methods=(METHOD,),
        scope=Scope("project", found.project_id),
        issued_at=now,
        expires_at=now + cloud.settings.identity.token_lifetime_seconds * 1_000_000,
        audit_ids=(new_audit_id(),),
        origin=found.origin,
    )
    subject = validation.examine(tx, token)
    ends_at = subject.binding.ends_at if subject.binding else None
    if ends_at is not None and ends_at <= now:
        raise Unauthorized
    return subject
