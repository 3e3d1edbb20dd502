"""Trusts: a user (trustor) lets another (trustee) act with some of their roles in a project."""
