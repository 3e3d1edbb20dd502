"""Hypothesis gives up on an example after a fifth of a second, and on the first ten after one, if
not told otherwise (`CI` in the environment tells it): a busy machine may need more."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def pytest_configure() -> None:
    every = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("patient", every)
    settings.load_profile("patient")
