"""Policy rules of the image service, named and defaulted as upstream's.

Targets: an image gives `project_id` (its owner), `owner`, `visibility`, and `member_id` (the
caller's project when it is a member); a member adds `member_id` of the member asked for.
"""

from __future__ import annotations

from nubelet.kernel.policy import MONITOR, Rule

_ADMIN = "rule:context_is_admin"
_MEMBER = f"{_ADMIN} or (role:member and project_id:%(project_id)s)"
_READER = f"{_ADMIN} or (role:reader and project_id:%(project_id)s)"
_SEEN = (
    "project_id:%(project_id)s or project_id:%(member_id)s or "
    "'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s"
)
_SCOPE = ("project",)


def _rule(name: str, check: str, description: str) -> Rule:
    return Rule(name, check, description, (), _SCOPE)


RULES = (
    MONITOR,
    Rule(
        "context_is_admin",
        "role:admin or role:image_admin",
        "Administrators of the cloud, and of this service: they act on everybody's images",
    ),
    Rule("service_api", "role:service", "Who is a service of the cloud"),
    _rule(
        "add_image",
        f"{_ADMIN} or (role:member and project_id:%(project_id)s and project_id:%(owner)s)",
        "Create an image",
    ),
    _rule("delete_image", _MEMBER, "Delete an image"),
    _rule("get_image", f"{_ADMIN} or (role:reader and ({_SEEN}))", "Show an image"),
    _rule("get_images", _READER, "List images"),
    _rule("modify_image", _MEMBER, "Change an image"),
    _rule("publicize_image", _ADMIN, "Make an image public"),
    _rule("communitize_image", _MEMBER, "Make an image a community image"),
    _rule(
        "download_image", f"{_ADMIN} or (role:member and ({_SEEN}))", "Download image data"
    )._replace(monitored=False),
    _rule("upload_image", _MEMBER, "Upload image data"),
    _rule("deactivate", _MEMBER, "Forbid downloads of an image"),
    _rule("reactivate", _MEMBER, "Allow downloads of an image again"),
    _rule("stores_info_detail", _ADMIN, "See the stores in detail"),
    _rule("copy_image", _ADMIN, "Copy an image to more stores"),
    _rule(
        "get_image_location",
        f"{_ADMIN} or (role:reader and project_id:%(project_id)s)",
        "See where the data of an image lies",
    )._replace(monitored=False),
    _rule("set_image_location", _MEMBER, "Set where the data of an image lies, by PATCH"),
    _rule("delete_image_location", _ADMIN, "Remove one of the places of an image's data"),
    _rule(
        "add_image_location",
        f"rule:service_api or {_MEMBER}",
        "Add data that lies somewhere already to a queued image",
    ),
    _rule(
        "fetch_image_location", "rule:service_api", "See where the data of any image lies"
    )._replace(monitored=False),
    _rule("tasks_api_access", _ADMIN, "Use the API of tasks"),
    _rule("get_tasks", "rule:default", "List tasks"),
    _rule("get_task", "rule:default", "Show a task"),
    _rule("add_task", "rule:default", "Create a task"),
    Rule("default", "", "What a few rules of upstream refer to"),
    _rule("cache_image", _ADMIN, "Queue an image to be cached"),
    _rule("cache_list", _ADMIN, "See the cached and queued images"),
    _rule("cache_delete", _ADMIN, "Remove images from the cache or its queue"),
    _rule("cache_clean", _ADMIN, "Forget cached images that are damaged or gone"),
    _rule("cache_prune", _ADMIN, "Let go of cached images that do not fit the limit"),
    _rule("add_member", _MEMBER, "Share an image with a project"),
    _rule("delete_member", _MEMBER, "Stop sharing an image with a project"),
    _rule(
        "get_member",
        f"{_ADMIN} or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)",
        "Show a member of an image",
    ),
    _rule(
        "get_members",
        f"{_ADMIN} or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)",
        "List the members of an image",
    ),
    _rule(
        "modify_member",
        f"{_ADMIN} or (role:member and project_id:%(member_id)s)",
        "Accept or reject a shared image",
    ),
)
