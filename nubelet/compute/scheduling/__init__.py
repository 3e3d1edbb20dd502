"""Choosing a host: what fits (filters), why the others do not (reasons), which is best (weights).

Read: `request.py` (what is asked), `hosts.py` (what a host looks like here), `filters.py`,
`weights.py`, then `choose.py`, which puts them together with placement's candidates.

In OpenStack: nova/scheduler.
"""

from nubelet.compute.scheduling.choose import Choice, NoValidHost, choose
from nubelet.compute.scheduling.request import HostRequest, request_for

__all__ = ["Choice", "HostRequest", "NoValidHost", "choose", "request_for"]
