"""Requests that nobody would write, in great number: none may break a service, hang it, or leave
something behind that a later read cannot show.

    python -m tests.fuzzing identity --requests 20000 --seed 7     (make fuzz)

Two sources: `schema.py` makes requests from the OpenAPI document that a service serves, right and
wrong ones (schemathesis); `oddities.py` knows no schema and bends paths, queries, headers and
bodies of good requests. `judge.py` looks at each answer. They run inside the process, against the
three worlds of the authorization matrix, and what a request changed is undone before the next,
but for some of the things that were made.
"""
