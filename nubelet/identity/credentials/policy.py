"""Who may do what with credentials.

In OpenStack: keystone/common/policies/{credential,ec2_credential,ec2tokens,s3tokens}.py.
"""

from __future__ import annotations

from nubelet.identity.policy import ADMIN, SEES_ALL, make_rule
from nubelet.kernel.policy import Rule

_OWNER = "user_id:%(target.credential.user_id)s"
_SEES = f"{SEES_ALL} or {_OWNER}"
_CHANGES = f"{ADMIN} or {_OWNER}"


def _ec2(name: str, check: str, description: str) -> Rule:
    return Rule(f"identity:{name}", check, description, (), ("system", "project"))


RULES: tuple[Rule, ...] = (
    make_rule("get_credential", _SEES, "Show a credential."),
    make_rule("list_credentials", _SEES, "List credentials."),
    make_rule("create_credential", _CHANGES, "Create a credential."),
    make_rule("update_credential", _CHANGES, "Change a credential."),
    make_rule("delete_credential", _CHANGES, "Delete a credential."),
    _ec2("ec2_get_credential", _SEES, "Show an EC2 credential."),
    _ec2("ec2_list_credentials", _SEES, "List the EC2 credentials of a user."),
    _ec2(
        "ec2_create_credential",
        f"{ADMIN} or (role:member and {_OWNER})",
        "Create an EC2 credential.",
    ),
    _ec2("ec2_delete_credential", _CHANGES, "Delete an EC2 credential."),
    make_rule(
        "ec2tokens_validate",
        "rule:service_or_admin",
        "Get a token for a request that is signed with an EC2 credential: for services.",
    ),
    make_rule(
        "s3tokens_validate",
        "rule:service_or_admin",
        "Get a token for a request that is signed with an S3 key: for services, since whoever "
        "holds a presigned URL could do it otherwise.",
    ),
)
