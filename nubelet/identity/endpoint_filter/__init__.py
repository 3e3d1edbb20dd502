"""Which endpoints a project sees in its catalog: single ones, and groups found by a filter.

A project with neither sees the whole catalog. Read next: `associations.py`.

In OpenStack: the extension OS-EP-FILTER of keystone/catalog.
"""
