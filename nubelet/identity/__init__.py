"""Identity: users, projects, roles, tokens and the catalog.

The facade: what other services and wiring may use. Read next: README.md, `model.py`,
`authentication.py` (a login), `authenticator.py` (every other request).

In OpenStack: Keystone.
"""

from __future__ import annotations

from nubelet.identity.areas import ROUTES, RULES
from nubelet.identity.authenticator import TokenAuthenticator, rules_of_token
from nubelet.identity.bootstrap import (
    bootstrap,
    ensure_assignment,
    ensure_domain,
    ensure_project,
    ensure_role,
    ensure_user,
)
from nubelet.identity.credentials.ec2 import Ec2Credential
from nubelet.identity.credentials.ec2 import authorize as authorize_ec2_credential
from nubelet.identity.credentials.ec2 import find as find_ec2_credential
from nubelet.identity.facade import (
    find_endpoint,
    find_project,
    find_user,
    issue_token,
    issue_token_as,
    project_name,
    project_names,
    user_name,
)
from nubelet.identity.federation.api.login import SHIBBOLETH_MOUNT
from nubelet.identity.limits.rules import of_project as project_limits
from nubelet.identity.reconcilers import RECONCILERS, check, rotate_all_keys
from nubelet.kernel.http.dialects import IDENTITY
from nubelet.kernel.service import Service

__all__ = [
    "SERVICE", "Ec2Credential", "TokenAuthenticator", "authorize_ec2_credential", "bootstrap",
    "ensure_assignment", "ensure_domain", "ensure_project", "ensure_role", "ensure_user",
    "find_ec2_credential", "find_endpoint", "find_project", "find_user", "issue_token",
    "issue_token_as", "project_limits", "project_name", "project_names", "rotate_all_keys",
    "rules_of_token", "user_name",
]  # fmt: skip

SERVICE = Service(
    name="identity",
    type="identity",
    title="Identity",
    mount="/identity",
    aliases=(SHIBBOLETH_MOUNT,),
    endpoint="/identity",
    dialect=IDENTITY,
    routes=ROUTES,
    rules=RULES,
    reconcilers=RECONCILERS,
    check=check,
)
