"""When rules of lifecycles are due."""

from __future__ import annotations

import pytest

from nubelet.object_store.s3 import lifecycle_rules
from nubelet.object_store.s3.lifecycle_rules import Expiry, due

DAY = 86_400.0


@pytest.mark.parametrize(
    ("since", "days", "at"), [(0.0, 1, DAY), (1.0, 1, 2 * DAY), (DAY - 0.5, 3, 4 * DAY)]
)
def test_days_are_rounded_up_to_a_midnight(since: float, days: int, at: float) -> None:
    assert due(since, days) == at


def test_as_many_days_as_a_rule_may_say_are_a_date() -> None:
    at = due(1.8e9, 2**31 - 1)
    told = lifecycle_rules.header(Expiry(at, "for ever"))
    assert told == 'expiry-date="Fri, 31 Dec 9999 00:00:00 GMT", rule-id="for%20ever"'
