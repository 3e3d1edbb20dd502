"""Unified limits: how much of what a project may have, kept in one place for all services.

A *registered limit* says that a resource of a service is limited, and how many everybody may have;
a *limit* is the exception of one project or domain. Services ask `of_project` and count for
themselves. Read next: `rules.py`.

In OpenStack: keystone/limit, and oslo.limit on the side of the services.
"""
