"""The Swift API: accounts, containers, objects."""
