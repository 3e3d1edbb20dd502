"""The state machine of servers: the table, the picture in the README, and the API's statuses."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from nubelet.compute import states
from nubelet.kernel.errors import Conflict

README = Path(__file__).parents[2] / "nubelet/compute/README.md"


def test_the_picture_shows_the_table() -> None:
    """Each line `FROM --action--> TO` of the README stands for entries of ACTIONS, and every
    entry that changes vm_state stands there."""
    drawn = set()
    for line in README.read_text().splitlines():
        match = re.match(r"\s*([A-Z, ]+?) +--([a-z_]+)--> +([A-Z]+|same)\s*$", line)
        if match:
            for state in match[1].split(","):
                drawn.add((state.strip().lower(), match[2], match[3].lower()))
    listed = set()
    for name, action in states.ACTIONS.items():
        if action.to_state is None and name != "rebuild":
            continue
        for state in action.from_states or ("building",):
            listed.add((state, name, action.to_state or "same"))
    assert drawn == listed


@pytest.mark.parametrize(
    ("vm_state", "task_state", "status"),
    [
        ("building", "spawning", "BUILD"),
        ("active", None, "ACTIVE"),
        ("active", "rebooting", "REBOOT"),
        ("active", "rebooting_hard", "HARD_REBOOT"),
        ("stopped", "rebooting_hard", "HARD_REBOOT"),
        ("stopped", "powering-on", "SHUTOFF"),
        ("error", "rebuild_spawning", "REBUILD"),
        ("paused", None, "PAUSED"),
        ("suspended", "resuming", "SUSPENDED"),
        ("deleted", None, "DELETED"),
        ("active", "deleting", "ACTIVE"),
        ("no such", None, "UNKNOWN"),
    ],
)
def test_status(vm_state: str, task_state: str | None, status: str) -> None:
    assert states.status_of(vm_state, task_state) == status


def test_conditions_select_what_status_shows() -> None:
    """A list filtered by status has exactly the servers that show this status."""
    tasks = [None, *states._TASK_STATUSES, "deleting", "powering-off"]
    for status in {states.status_of(v, t) for v in states.VM_STATES for t in tasks}:
        pairs = states.conditions_of(status)
        assert pairs
        for vm_state in states.VM_STATES:
            for task in tasks:
                selected = any(
                    vm_state == of
                    and (
                        task in among
                        if among is not None
                        else task not in states.tasks_shown_in(of)
                    )
                    for of, among in pairs
                )
                assert selected == (states.status_of(vm_state, task) == status)
    assert states.conditions_of("nonsense") is None


def row(vm_state: str, task_state: str | None = None, launched: bool = True) -> SimpleNamespace:
    return SimpleNamespace(
        id="s", vm_state=vm_state, task_state=task_state, launched_at=1 if launched else None
    )


@pytest.mark.parametrize("action", [name for name in states.ACTIONS if name != "create"])
def test_actions_are_refused_naming_state_and_action(action: str) -> None:
    rule = states.ACTIONS[action]
    name = action.removesuffix("_hard")
    for vm_state in states.VM_STATES:
        if vm_state in rule.from_states:
            assert states.require(action, row(vm_state)) is rule
        else:
            with pytest.raises(
                Conflict, match=f"Cannot '{name}' instance s while it is in vm_state {vm_state}"
            ):
                states.require(action, row(vm_state))


def test_a_task_under_way_refuses_others() -> None:
    with pytest.raises(Conflict, match="task_state powering-off"):
        states.require("pause", row("active", "powering-off"))
    states.require("delete", row("active", "powering-off"))
    states.require("reboot_hard", row("active", "rebooting"))


def test_what_never_ran_cannot_be_stopped() -> None:
    with pytest.raises(Conflict, match="as it has never been active"):
        states.require("stop", row("error", launched=False))
    states.require("delete", row("error", launched=False))
