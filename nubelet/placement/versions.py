"""The history of placement's API, one line per microversion.

In OpenStack: placement/microversion.py.
"""

from __future__ import annotations

from nubelet.kernel.http.microversions import Microversions

MICROVERSIONS = Microversions((1, 0), (1, 39), ("placement",))

HISTORY = {
    (1, 0): "providers, inventories, allocations, usages of a provider",
    (1, 1): "aggregates of a provider",
    (1, 2): "resource classes",
    (1, 3): "member_of in lists of providers",
    (1, 4): "resources in lists of providers",
    (1, 5): "delete all inventories of a provider",
    (1, 6): "traits",
    (1, 7): "PUT of a resource class makes it",
    (1, 8): "project_id and user_id with allocations",
    (1, 9): "usages of a project",
    (1, 10): "allocation candidates",
    (1, 11): "a link to the allocations of a provider",
    (1, 12): "allocations are an object keyed by provider",
    (1, 13): "POST allocations of several consumers",
    (1, 14): "trees of providers, in_tree in lists of providers",
    (1, 15): "last-modified and cache-control headers",
    (1, 16): "limit for allocation candidates",
    (1, 17): "required traits for allocation candidates, traits in provider summaries",
    (1, 18): "required traits in lists of providers",
    (1, 19): "generations with aggregates",
    (1, 20): "POST of a provider answers with it",
    (1, 21): "member_of for allocation candidates",
    (1, 22): "forbidden traits",
    (1, 23): "error codes",
    (1, 24): "several member_of",
    (1, 25): "granular groups in allocation candidates",
    (1, 26): "everything of an inventory may be reserved",
    (1, 27): "all resource classes in provider summaries",
    (1, 28): "generations of consumers",
    (1, 29): "several providers of a tree in one allocation candidate",
    (1, 30): "reshaper",
    (1, 31): "in_tree for allocation candidates",
    (1, 32): "forbidden aggregates",
    (1, 33): "free suffixes of granular groups",
    (1, 34): "mappings from groups to providers",
    (1, 35): "root_required",
    (1, 36): "same_subtree, groups without resources",
    (1, 37): "providers move within and between trees",
    (1, 38): "types of consumers",
    (1, 39): "any of several traits",
}
