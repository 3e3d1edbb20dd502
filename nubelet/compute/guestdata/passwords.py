"""The password that a guest may tell its owner through the metadata service.

The guest encrypts it with the user's public key, so the cloud keeps what it cannot read.

In OpenStack: nova/api/metadata/password.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.compute.model import server
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict

MAX_BYTES = 1020


def read_password(tx: Tx, server_id: str) -> str:
    """The encrypted password, or ""."""
    found = tx.scalar(sa.select(server.c.encrypted_password).where(server.c.id == server_id))
    return str(found or "")


def set_password(tx: Tx, server_id: str, body: bytes) -> None:
    """Keep it; raises Conflict when there is one already or it is too long."""
    if read_password(tx, server_id):
        raise Conflict("A password was set already.")
    if len(body) > MAX_BYTES:
        raise Conflict(f"The password is longer than {MAX_BYTES} bytes.", status=400)
    try:
        text = body.decode("ascii")
    except UnicodeDecodeError:
        raise Conflict("The password is not ASCII text.", status=400) from None
    tx.update(server, server.c.id == server_id, encrypted_password=text)


def clear_password(tx: Tx, server_id: str) -> None:
    """Forget it."""
    tx.update(server, server.c.id == server_id, encrypted_password=None)
