"""The authorization matrix: who gets what from every route of every service.

One table per service (`identity.txt` and its siblings) has a row per route: what each caller gets
for a thing of its own and for a thing of somebody else. The tables are written by hand in the end:
a row is added by a command and then read against upstream's default for the rule.

    python -m tests.authorization                  what differs, what is missing
    python -m tests.authorization --add            adds rows of new routes, drops those of old ones
    python -m tests.authorization --accept "POST /v3/users"   takes over what one route does now

Read next: `callers.py` (the columns), `worlds.py` (the things), `asking.py` (one question), then
the examples of a service, `examples/identity/`.
"""
