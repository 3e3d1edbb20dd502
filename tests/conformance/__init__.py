"""Conformance: Tempest against a cloud of ours; the figure is passed / listed."""
