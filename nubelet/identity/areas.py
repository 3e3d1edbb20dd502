"""All routes and rules of the identity API, collected from its areas.

The files of `api/` are its core, with the rules of `policy.py`; every other area is a folder of the
same shape as a small service: model, policy, logic, api. Read next: an area's `__init__.py`.
"""

from __future__ import annotations

from nubelet.identity import policy
from nubelet.identity.api import (
    auth,
    catalog,
    domains,
    grants,
    groups,
    projects,
    revocations,
    role_assignments,
    roles,
    simple_cert,
    users,
    versions,
)
from nubelet.identity.application_credentials import api as application_credentials
from nubelet.identity.application_credentials import policy as application_credentials_policy
from nubelet.identity.credentials import api as credentials
from nubelet.identity.credentials import ec2_api
from nubelet.identity.credentials import policy as credentials_policy
from nubelet.identity.domain_config import api as domain_config
from nubelet.identity.domain_config import policy as domain_config_policy
from nubelet.identity.endpoint_filter import api as endpoint_filter
from nubelet.identity.endpoint_filter import policy as endpoint_filter_policy
from nubelet.identity.federation import api as federation
from nubelet.identity.federation import policy as federation_policy
from nubelet.identity.limits import api as limits
from nubelet.identity.limits import policy as limits_policy
from nubelet.identity.oauth1 import api as oauth1
from nubelet.identity.oauth1 import policy as oauth1_policy
from nubelet.identity.oauth2 import api as oauth2
from nubelet.identity.policies import api as policies
from nubelet.identity.policies import policy as policies_policy
from nubelet.identity.trusts import api as trusts
from nubelet.identity.trusts import policy as trusts_policy

CORE = (
    versions,
    auth,
    revocations,
    domains,
    projects,
    users,
    groups,
    roles,
    grants,
    role_assignments,
    catalog,
    simple_cert,
)
AREAS = (
    domain_config,
    limits,
    endpoint_filter,
    policies,
    federation,
    application_credentials,
    trusts,
    credentials,
    ec2_api,
    oauth1,
    oauth2,
)
AREA_RULES = (
    domain_config_policy,
    limits_policy,
    endpoint_filter_policy,
    policies_policy,
    federation_policy,
    application_credentials_policy,
    trusts_policy,
    credentials_policy,
    oauth1_policy,
)

ROUTES = tuple(route for part in (*CORE, *AREAS) for route in part.ROUTES)
RULES = tuple(rule for part in (policy, *AREA_RULES) for rule in part.RULES)
