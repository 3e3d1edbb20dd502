"""What federation does by itself: end memberships, forget what nobody came for.

And what `nubelet doctor` asks: registrations that others could read.
"""

from __future__ import annotations

from nubelet.identity.federation import registrations, sessions, shadows
from nubelet.identity.federation.model import used_assertion
from nubelet.identity.federation.saml import keys
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.reconcile import Reconciler


def tidy(cloud: Cloud) -> None:
    """End what ended. Roles by an expired membership are gone at the latest one period after."""

    def forget(tx: Tx) -> None:
        shadows.forget_expired(tx)
        sessions.forget_expired(tx)
        tx.delete(used_assertion, used_assertion.c.expires_at <= clock.now())

    cloud.database.transact(forget)


RECONCILERS = (Reconciler("identity-federation", 60, tidy),)


def check(cloud: Cloud) -> list[str]:
    """What is wrong, one sentence each."""
    return [
        f"{path} holds secrets and can be read by others: its mode must be 0600."
        for path in (*registrations.readable_by_others(cloud), *keys.exposed(cloud))
    ]
