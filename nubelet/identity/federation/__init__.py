"""Federation: users who are known elsewhere, and ours who go elsewhere.

An *identity provider* vouches for somebody by a *protocol*; a *mapping* says who that is here. A
*service provider* is another cloud that takes our word for our users.

Read next: README.md, `rules.py` (the mapping language), `login.py` (how somebody comes in).
In OpenStack: keystone/federation/.
"""
