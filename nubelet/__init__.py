"""Nubelet: a complete cloud operating system that speaks the OpenStack APIs.

Read docs/ARCHITECTURE.md first, then `kernel/http/app.py` (the life of a request)
and `kernel/operations/` (the life of a change).
"""

__version__ = "0.1.0"
