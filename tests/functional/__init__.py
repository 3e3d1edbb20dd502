"""Unmodified clients, and the command, against clouds with fake hosts."""
