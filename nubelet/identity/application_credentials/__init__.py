"""Application credentials: for programs that act with a part of a user's rights in one project.

Read next: `issuing.py` (what they are), `binding.py` (what their tokens are worth),
`access_rules.py`, `methods/application_credential.py`, `api.py`.
"""
