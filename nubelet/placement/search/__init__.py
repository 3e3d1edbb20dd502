"""The search for allocation candidates: `request.py` (what is asked), `state.py` (what there
is), `find.py` (how the one is fitted into the other).

In OpenStack: placement/objects/allocation_candidate.py, research_context.py, rp_candidates.py.
"""

from nubelet.placement.search.find import Candidate, find
from nubelet.placement.search.request import Group, Search
from nubelet.placement.search.state import State, load

__all__ = ["Candidate", "Group", "Search", "State", "find", "load"]
