"""Credentials: secrets of any type that identity keeps for users.

The blob is sealed with keys of its own (`sealing.py`). That of an EC2 credential is a JSON object
with an access key and a secret; requests signed with them get tokens (`ec2.py`). A credential that
was made with a delegated token stays bound to what that token was bound to, and is visible to the
bearers of such tokens only as far as it is theirs.

In OpenStack: keystone/api/credentials.py, keystone/credential/core.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.binding import is_in_person
from nubelet.identity.credentials.model import credential
from nubelet.identity.sealing import Seal
from nubelet.identity.tokens import Origin
from nubelet.identity.validation import Subject
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden
from nubelet.kernel.ids import new_hex

EC2 = "ec2"
# In the blob of an EC2 credential, for clients that look there; the columns are what counts.
_IN_BLOB = {
    "trust_id": "trust_id",
    "application_credential_id": "app_cred_id",
    "access_token_id": "access_token_id",
}


def visible_to(subject: Subject) -> sa.ColumnElement[bool]:
    """The condition on credentials that a bearer may know of. What acts with a part of a user's
    rights must not see secrets that carry all of them."""
    if is_in_person(subject.token, subject.binding):
        return sa.true()
    origin = subject.token.origin
    for name in _IN_BLOB:
        if bound := getattr(origin, name):
            return sa.and_(credential.c[name] == bound)
    return sa.false()


def find(tx: Tx, subject: Subject, identifier: str) -> Any:
    """The row of a credential that the bearer may know of; None where there is none."""
    return tx.first(sa.select(credential).where(credential.c.id == identifier, visible_to(subject)))


def find_ec2(tx: Tx, access: str, *conditions: sa.ColumnElement[bool]) -> Any:
    """The row of the EC2 credential of an access key; None where there is none."""
    return tx.first(
        sa.select(credential).where(
            credential.c.access_hash == hash_access(access), credential.c.type == EC2, *conditions
        )
    )


def hash_access(access: str) -> str:
    """What an access key is found by, and the id of the credential that it is made with."""
    return hashlib.sha256(access.encode()).hexdigest()


def create(
    ctx: Context, tx: Tx, seal: Seal, values: Mapping[str, Any], extra: Mapping[str, Any],
    origin: Origin,
) -> Any:  # fmt: skip
    """Insert a credential: user_id, type, blob, and project_id, which EC2 needs; answers its
    row. `origin`: of the token that it is made with."""
    kind, project_id = values["type"], values.get("project_id")
    blob, identifier, access_hash = values["blob"], new_hex(), None
    if origin.is_delegated and kind.lower() != EC2:
        raise Forbidden("With a delegated token only EC2 credentials can be made.")
    if kind.lower() == EC2:
        content = read_ec2(blob)
        if not project_id:
            raise BadRequest("Invalid input for field/attribute project_id: EC2 needs it.")
        if origin.is_delegated and (project_id, values["user_id"]) != (ctx.project_id, ctx.user_id):
            raise Forbidden(
                "A delegated token makes EC2 credentials for its own user and project only."
            )
        access_hash = identifier = hash_access(content["access"])
        _refuse_duplicate(tx, access_hash)
        bound = {
            _IN_BLOB[name]: getattr(origin, name) for name in _IN_BLOB if getattr(origin, name)
        }
        if bound:
            blob = msgspec.json.encode({**content, **bound}).decode()
    tx.insert(
        credential,
        id=identifier,
        access_hash=access_hash,
        user_id=values["user_id"],
        project_id=project_id,
        type=kind,
        blob=seal.close(blob),
        **{name: getattr(origin, name) or None for name in _IN_BLOB},
        used_counter=None,
        failed_count=0,
        failed_at=None,
        extra=dict(extra),
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "credential.created", identifier)
    return tx.first(sa.select(credential).where(credential.c.id == identifier))


def update(
    ctx: Context,
    tx: Tx,
    seal: Seal,
    row: Any,
    values: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> Any:
    """Change the blob (and free attributes) of a credential; answers its row. Whose it is, for
    which project and of which type it is stays as it was made, and so does what it is bound to."""
    for name in ("id", "user_id", "project_id", "type"):
        if name in values and values[name] != getattr(row, name):
            raise BadRequest(f"Invalid input for field/attribute {name}: it cannot be changed.")
    changed: dict[str, Any] = {}
    if "blob" in values:
        changed["blob"] = seal.close(values["blob"])
        if row.type.lower() == EC2:
            changed["access_hash"] = _changed_access(tx, row, values["blob"])
    tx.update(credential, credential.c.id == row.id, **changed, extra={**row.extra, **extra})
    changes.record(ctx, tx, "credential.updated", row.id)
    return tx.first(sa.select(credential).where(credential.c.id == row.id))


def _changed_access(tx: Tx, row: Any, blob: str) -> str:
    """What an EC2 credential is found by with a new blob."""
    content = read_ec2(blob)
    for name, in_blob in _IN_BLOB.items():
        if (content.get(in_blob) or None) != getattr(row, name):
            raise BadRequest(
                f"Invalid input for field/attribute blob: {in_blob} cannot be changed."
            )
    access_hash = hash_access(content["access"])
    if access_hash != row.access_hash:
        _refuse_duplicate(tx, access_hash)
    return access_hash


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a credential."""
    tx.delete(credential, credential.c.id == row.id)
    changes.record(ctx, tx, "credential.deleted", row.id)


def read_ec2(blob: str) -> dict[str, Any]:
    """The content of the blob of an EC2 credential; raises BadRequest."""
    try:
        content = msgspec.json.decode(blob)
    except (msgspec.DecodeError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("access"), str):
        raise BadRequest(
            "Invalid input for field/attribute blob: that of an EC2 credential is a JSON object "
            "with access and secret."
        )
    if not isinstance(content.get("secret", ""), str):
        raise BadRequest("Invalid input for field/attribute blob: its secret is not a text.")
    return content


def _refuse_duplicate(tx: Tx, access_hash: str) -> None:
    tx.lock("identity", "credential", access_hash)
    same = sa.or_(credential.c.id == access_hash, credential.c.access_hash == access_hash)
    if tx.scalar(sa.select(credential.c.id).where(same)) is not None:
        raise Conflict("There is an EC2 credential with this access key already.")
