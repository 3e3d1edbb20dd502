"""Who may do what in identity: upstream's rule names and today's defaults.

The personas: an administrator (role `admin`) may do everything, though with a token for a domain
not what belongs to no domain; a system reader sees everything; a domain reader sees, and a domain
manager changes, what belongs to the domain of their token (a manager hands out only the roles
manager, member and reader); a project administrator (role `project_admin`) makes members and
readers of one project and sets its limits; everybody sees themselves and the project of their
token. Who manages a domain can act as any of its users (they set passwords and fill groups): keep
administrators out of domains that have managers.

Targets are built by the handlers: `target.user.domain_id` is the domain of the user that the
request is about, and so on. A thing that does not exist has no attributes, so only those who may
see everything learn that it does not; but for a few things upstream tells everybody (roles, a
domain to be changed, a group to be deleted), and so do we.

In OpenStack: keystone/common/policies/.
"""

from __future__ import annotations

from nubelet.kernel.policy import Rule

ALL = ("system", "domain", "project")
# For what belongs to no domain: an administrator's token for a domain is not enough.
GLOBAL = ("system", "project")
ADMIN = "rule:admin_required"
SYSTEM_READER = "(role:reader and system_scope:all)"
SEES_ALL = f"{ADMIN} or {SYSTEM_READER}"
ANYBODY = "@"


def _domain(role: str, attribute: str) -> str:
    return f"(role:{role} and domain_id:%({attribute})s)"


def make_rule(name: str, check: str, description: str, scopes: tuple[str, ...] = ALL) -> Rule:
    """A rule for tokens of every scope, or of these."""
    return Rule(f"identity:{name}", check, description, (), scopes)


def of_no_domain(*rules: Rule) -> tuple[Rule, ...]:
    """These rules, about what belongs to no domain."""
    return tuple(rule._replace(scope_types=GLOBAL) for rule in rules)


def noun_rules(
    singular: str,
    plural: str,
    *,
    show: str,
    change: str,
    list_: str = "",
    show_scopes: tuple[str, ...] = ALL,
    change_scopes: tuple[str, ...] = ALL,
) -> tuple[Rule, ...]:
    """The five rules of a resource."""
    return (
        make_rule(f"get_{singular}", show, f"Show a {singular}.", show_scopes),
        make_rule(f"list_{plural}", list_ or show, f"List {plural}.", show_scopes),
        *(
            make_rule(f"{verb}_{singular}", change, f"{verb.title()} a {singular}.", change_scopes)
            for verb in ("create", "update", "delete")
        ),
    )


_SHARED = (
    Rule("admin_required", "role:admin or is_admin:1", "An administrator."),
    Rule("service_role", "role:service", "A service of the cloud."),
    Rule("service_or_admin", "rule:admin_required or rule:service_role"),
    Rule("owner", "user_id:%(user_id)s", "The user that the request is about."),
    Rule("admin_or_owner", "rule:admin_required or rule:owner"),
    Rule("token_subject", "user_id:%(target.token.user_id)s", "The bearer of the subject token."),
    Rule("admin_or_token_subject", "rule:admin_required or rule:token_subject"),
    Rule("service_admin_or_token_subject", "rule:service_or_admin or rule:token_subject"),
    Rule("context_is_admin", "rule:admin_required"),
    Rule(
        "domain_managed_target_role",
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s or "
        "'reader':%(target.role.name)s",
        "The roles that the manager of a domain may hand out.",
    ),
    Rule(
        "project_admin",
        "role:project_admin and project_id:%(target.project.id)s",
        "The administrator of the project that the request is about: of its members, no more.",
    ),
    Rule(
        "project_admin_target_role",
        "None:%(target.role.domain_id)s and ('member':%(target.role.name)s or "
        "'reader':%(target.role.name)s)",
        "The roles that the administrator of a project may hand out.",
    ),
    Rule(
        "project_admin_grants",
        "rule:project_admin and rule:project_admin_target_role and "
        "not 'projects':%(target.inherited_to)s",
        "What the administrator of a project may give and take: in the project, not below it.",
    ),
)

_TOKENS = (
    make_rule(
        "validate_token",
        f"{SEES_ALL} or rule:service_role or rule:token_subject",
        "Validate a token and see what it says.",
    ),
    make_rule("check_token", f"{SEES_ALL} or rule:token_subject", "Validate a token."),
    make_rule("revoke_token", "rule:admin_or_token_subject", "Revoke a token."),
    *(
        Rule(f"identity:get_auth_{what}", ANYBODY, f"See one's own {what}.")
        for what in ("catalog", "projects", "domains", "system")
    ),
)

_REVOCATIONS = (
    make_rule("list_revoke_events", "rule:service_or_admin", "List revocation events."),
    make_rule("revocation_list", "rule:service_or_admin", "List revoked PKI tokens (410)."),
)

_DOMAINS = (
    make_rule(
        "get_domain",
        f"{SEES_ALL} or domain_id:%(target.domain.id)s or project_domain_id:%(target.domain.id)s",
        "Show a domain.",
    ),
    make_rule(
        "list_domains", f"{SEES_ALL} or {_domain('reader', 'target.domain_id')}", "List domains."
    ),
    *(
        make_rule(f"{verb}_domain", ADMIN, f"{verb.title()} a domain.", GLOBAL)
        for verb in ("create", "update", "delete")
    ),
)

_SEES_PROJECT = (
    f"{SEES_ALL} or {_domain('reader', 'target.project.domain_id')} or "
    "project_id:%(target.project.id)s"
)
_TAGS_PROJECT = (
    f"{ADMIN} or {_domain('manager', 'target.project.domain_id')} or "
    "(role:admin and project_id:%(target.project.id)s)"
)
_PROJECTS = (
    *noun_rules(
        "project",
        "projects",
        show=_SEES_PROJECT,
        list_=f"{SEES_ALL} or {_domain('reader', 'target.domain_id')}",
        change=f"{ADMIN} or {_domain('manager', 'target.project.domain_id')}",
    ),
    make_rule(
        "list_user_projects",
        f"{SEES_ALL} or {_domain('reader', 'target.user.domain_id')} or user_id:%(target.user.id)s",
        "List the projects of a user.",
    ),
    make_rule("list_project_tags", _SEES_PROJECT, "List the tags of a project."),
    make_rule("get_project_tag", _SEES_PROJECT, "Check a tag of a project."),
    make_rule("create_project_tag", _TAGS_PROJECT, "Add a tag to a project."),
    make_rule("update_project_tags", _TAGS_PROJECT, "Replace the tags of a project."),
    make_rule("delete_project_tag", _TAGS_PROJECT, "Remove a tag of a project."),
    make_rule("delete_project_tags", _TAGS_PROJECT, "Remove all tags of a project."),
)

_USERS = (
    *noun_rules(
        "user",
        "users",
        show=f"{SEES_ALL} or {_domain('reader', 'target.user.domain_id')} or "
        "user_id:%(target.user.id)s",
        list_=f"{SEES_ALL} or {_domain('reader', 'target.domain_id')}",
        change=f"{ADMIN} or {_domain('manager', 'target.user.domain_id')}",
    ),
    make_rule("revoke_tokens_for_user", "rule:admin_or_owner", "Revoke all tokens of a user."),
)

_BOTH_DOMAINS = "domain_id:%(target.group.domain_id)s and domain_id:%(target.user.domain_id)s"
_GROUPS = (
    *noun_rules(
        "group",
        "groups",
        show=f"{SEES_ALL} or {_domain('reader', 'target.group.domain_id')}",
        change=f"{ADMIN} or {_domain('manager', 'target.group.domain_id')}",
    ),
    make_rule(
        "list_groups_for_user",
        f"{SEES_ALL} or {_domain('reader', 'target.user.domain_id')} or user_id:%(target.user.id)s",
        "List the groups of a user.",
    ),
    make_rule(
        "list_users_in_group",
        f"{SEES_ALL} or {_domain('reader', 'target.group.domain_id')}",
        "List the members of a group.",
    ),
    make_rule(
        "check_user_in_group",
        f"{SEES_ALL} or (role:reader and {_BOTH_DOMAINS})",
        "Check a membership.",
    ),
    make_rule(
        "add_user_to_group",
        f"{ADMIN} or (role:manager and {_BOTH_DOMAINS})",
        "Add a user to a group.",
    ),
    make_rule(
        "remove_user_from_group",
        f"{ADMIN} or (role:manager and {_BOTH_DOMAINS})",
        "Remove a user from a group.",
    ),
)

_MANAGES_A_DOMAIN = "role:manager and not domain_id:None"
_ROLES = (
    *noun_rules(
        "role",
        "roles",
        show=f"{SEES_ALL} or ({_MANAGES_A_DOMAIN} and rule:domain_managed_target_role) or "
        "(role:project_admin and rule:project_admin_target_role)",
        list_=f"{SEES_ALL} or ({_MANAGES_A_DOMAIN}) or role:project_admin",
        change=ADMIN,
        change_scopes=GLOBAL,
    ),
    *noun_rules(
        "domain_role",
        "domain_roles",
        show=SEES_ALL,
        change=ADMIN,
        show_scopes=GLOBAL,
        change_scopes=GLOBAL,
    ),
    *(
        make_rule(f"{verb}_implied_role", SEES_ALL, f"{verb.title()} an implied role.", GLOBAL)
        for verb in ("get", "check")
    ),
    make_rule("list_implied_roles", SEES_ALL, "List the roles that a role implies.", GLOBAL),
    make_rule("list_role_inference_rules", SEES_ALL, "List all implied roles.", GLOBAL),
    make_rule("create_implied_role", ADMIN, "Let a role imply another.", GLOBAL),
    make_rule("delete_implied_role", ADMIN, "Let a role no longer imply another.", GLOBAL),
)


def _grants(role: str) -> str:
    """A domain persona for whom actor and target of a grant are in the domain of the token."""
    actors = ("domain_id:%(target.user.domain_id)s", "domain_id:%(target.group.domain_id)s")
    targets = ("domain_id:%(target.project.domain_id)s", "domain_id:%(target.domain.id)s")
    pairs = " or ".join(f"({actor} and {target})" for actor in actors for target in targets)
    return f"(role:{role} and ({pairs}))"


_ROLE_IS_VISIBLE = "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s)"
_HANDS_OUT = (
    f"{ADMIN} or ({_grants('manager')} and rule:domain_managed_target_role) or "
    "rule:project_admin_grants"
)
_GRANTS = (
    make_rule(
        "check_grant",
        f"{SEES_ALL} or ({_grants('reader')} and {_ROLE_IS_VISIBLE}) or rule:project_admin_grants",
        "Check an assignment.",
    ),
    make_rule(
        "list_grants",
        f"{SEES_ALL} or {_grants('reader')} or rule:project_admin",
        "List the roles of somebody.",
    ),
    make_rule("create_grant", _HANDS_OUT, "Assign a role."),
    make_rule("revoke_grant", _HANDS_OUT, "Take a role away."),
    *(
        make_rule(f"{verb}_for_{actor}", check, f"{description} of a {actor}.", GLOBAL)
        for actor in ("user", "group")
        for verb, check, description in (
            ("list_system_grants", SEES_ALL, "List the system roles"),
            ("check_system_grant", SEES_ALL, "Check a system role"),
            ("create_system_grant", ADMIN, "Assign a system role"),
            ("revoke_system_grant", ADMIN, "Take away a system role"),
        )
    ),
    make_rule(
        "list_role_assignments",
        f"{SEES_ALL} or {_domain('reader', 'target.domain_id')} or rule:project_admin",
        "List role assignments.",
    ),
    make_rule(
        "list_role_assignments_for_tree",
        f"{SEES_ALL} or {_domain('reader', 'target.project.domain_id')} or "
        "(role:admin and project_id:%(target.project.id)s) or rule:project_admin",
        "List the role assignments in a tree of projects.",
    ),
)

_CATALOG = (
    *noun_rules(
        "service",
        "services",
        show=SEES_ALL,
        change=ADMIN,
        show_scopes=GLOBAL,
        change_scopes=GLOBAL,
    ),
    *noun_rules(
        "endpoint",
        "endpoints",
        show=SEES_ALL,
        change=ADMIN,
        show_scopes=GLOBAL,
        change_scopes=GLOBAL,
    ),
    *noun_rules("region", "regions", show=ANYBODY, change=ADMIN, change_scopes=GLOBAL),
)

RULES: tuple[Rule, ...] = (
    *_SHARED,
    *_TOKENS,
    *_REVOCATIONS,
    *_DOMAINS,
    *_PROJECTS,
    *_USERS,
    *_GROUPS,
    *_ROLES,
    *_GRANTS,
    *_CATALOG,
)
