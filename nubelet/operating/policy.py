"""Policy rules of the operating API: administrators, and readers of the whole system."""

from __future__ import annotations

from nubelet.kernel.policy import Rule

_OPERATOR = "role:admin or (role:reader and system_scope:all)"

RULES = (
    Rule("context_is_admin", "role:admin", "Who may see everything"),
    Rule(
        "operating:status",
        _OPERATOR,
        "See how services, nodes and loops fare",
        (("GET", "/status"),),
    ),
    Rule("operating:doctor", _OPERATOR, "Check the invariants of the cloud", (("GET", "/doctor"),)),
    Rule(
        "operating:explain",
        f"{_OPERATOR} or (role:reader and project_id:%(project_id)s)",
        "See how a thing of one's own project came to be",
        (("GET", "/explain/{id}"),),
    ),
    Rule(
        "operating:explain:everything",
        _OPERATOR,
        "See how the things of all projects came to be, and what hosts did for it",
        (("GET", "/explain/{id}"),),
    ),
)
