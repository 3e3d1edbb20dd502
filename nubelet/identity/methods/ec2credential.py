"""The method `ec2credential`: the mark of tokens that were made for signed requests.

Nobody logs in by it: the signature is checked by `/v3/ec2tokens` and `/v3/s3tokens` alone
(`credentials/ec2.py`). Since it is not the user in person, such tokens make no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.identity.methods import Attempt, Method, Proven
from nubelet.kernel.errors import Unauthorized


def _prove(attempt: Attempt, part: Mapping[str, Any]) -> Proven:
    raise Unauthorized


METHOD = Method("ec2credential", {"type": "object"}, _prove)
