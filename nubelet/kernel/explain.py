"""Why is it so: one causal chain from a request down to the commands on a host.

`explain(cloud, identifier)` takes a subject's id (a server, a port, ...), an operation's or a
request's, and gathers what the request log, the journal, its trails and the events say of it.
The first line names the outcome and, for a failure, its root cause.

Read next: `requests.py`, `operations/journal.py`, `events.py`: where it all comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec

from nubelet.kernel import clock, conditions, events
from nubelet.kernel.conditions import Condition
from nubelet.kernel.database import Tx
from nubelet.kernel.operations import journal
from nubelet.kernel.operations.journal import DONE, UNWINDING, Record, StepRecord
from nubelet.kernel.requests import RequestRecord, find_requests, log_of

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud

_MAX_OPERATIONS = 100


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """An operation, every run of its steps, and the operations it started."""

    operation: Record
    steps: list[StepRecord]
    children: list[Story] = []

    @property
    def failed_step(self) -> StepRecord | None:
        """The run of a step that made the operation fail."""
        failed = [step for step in self.steps if step.direction == "do" and step.error]
        return failed[-1] if failed else None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an identifier. All lists are in the order of time."""

    identifier: str
    about: str  # subject, operation, request, nothing
    headline: str
    ok: bool
    requests: list[RequestRecord]
    stories: list[Story]
    events: list[events.Event]
    conditions: list[Condition] = []

    def lines(self) -> Iterator[str]:
        """The explanation as plain text; the first line is the headline."""
        yield self.headline
        yield from (str(each) for each in self.conditions if str(each) != self.headline)
        told: set[str] = set()
        for request in self.requests:
            yield _request_line(request)
            for story in self.stories:
                if story.operation.request_id == request.request_id:
                    told.add(story.operation.id)
                    yield from _story_lines(story, "  ")
        for story in self.stories:
            if story.operation.id not in told:
                yield from _story_lines(story, "")
        for event in self.events:
            yield (
                f"event {_moment(event.at)} {event.kind} {event.subject_type} {event.subject_id}"
            )

    def __str__(self) -> str:
        return "\n".join(self.lines())


def explain(cloud: Cloud, identifier: str, project_id: str | None = None) -> Explanation:
    """Tell what is known of a subject, an operation or a request.

    With `project_id` only what belongs to that project is told, and nothing of the hosts.
    """
    log_of(cloud).flush()
    with cloud.database.read() as tx:
        about, records = _operations(tx, identifier)
        stories = _stories(tx, _of_project(records, project_id))
        happened = (
            _of_project(events.read(tx, subject_id=identifier), project_id)
            if about in ("subject", "nothing")
            else []
        )
        request_ids = {record.request_id for record in records} | {
            event.request_id for event in happened if event.request_id
        }
        if about == "request":
            request_ids.add(identifier)
        requests = _of_project(
            find_requests(
                tx, request_ids=request_ids, subject_id=identifier if about != "request" else None
            ),
            project_id,
        )
        present = _of_project(conditions.find(cloud, tx, identifier), project_id)
    if project_id is not None:
        stories = [_without_hosts(story) for story in stories]
        happened = [msgspec.structs.replace(event, payload={}) for event in happened]
    if about == "nothing" and (requests or happened or present):
        about = "request" if identifier.startswith("req-") else "subject"
    if not (requests or happened or stories or present):
        about = "nothing"
    headline, ok = _headline(identifier, stories, requests, happened, present)
    return Explanation(
        identifier=identifier,
        about=about,
        headline=headline,
        ok=ok,
        requests=requests,
        stories=stories,
        events=happened,
        conditions=present,
    )


# --- Gathering ------------------------------------------------------------------------------


T = TypeVar("T", Record, RequestRecord, events.Event, Condition)


def _of_project(found: list[T], project_id: str | None) -> list[T]:
    return [one for one in found if project_id is None or one.project_id == project_id]


def _without_hosts(story: Story) -> Story:
    """What hosts did, and with which commands, is for those who run them."""
    rounds = [{"step": each["step"], "reason": each["reason"]} for each in story.operation.rounds]
    return Story(
        operation=msgspec.structs.replace(story.operation, inputs={}, outputs={}, rounds=rounds),
        steps=[msgspec.structs.replace(step, outputs=None, trail=[]) for step in story.steps],
        children=[_without_hosts(child) for child in story.children],
    )


def _operations(tx: Tx, identifier: str) -> tuple[str, list[Record]]:
    if identifier.startswith("req-"):
        same = {record.request_id for record in find_requests(tx, request_ids={identifier})}
        found = [
            record
            for request_id in sorted(same | {identifier})
            for record in journal.find(tx, request_id=request_id, limit=_MAX_OPERATIONS)
        ]
        ids = {record.id for record in found}
        # A child is told inside its parent.
        return "request", [record for record in found if record.parent_id not in ids]
    found = journal.find(tx, operation_id=identifier)
    if found:
        return "operation", found
    found = journal.find(tx, subject_id=identifier, limit=_MAX_OPERATIONS, newest_first=True)
    return ("subject" if found else "nothing"), found[::-1]


def _stories(tx: Tx, records: list[Record], depth: int = 0) -> list[Story]:
    steps: dict[str, list[StepRecord]] = {record.id: [] for record in records}
    for step in journal.steps_of(tx, list(steps)) if steps else ():
        steps[step.operation_id].append(step)
    children: dict[str, list[Record]] = {}
    if records and depth < 8:
        for child in journal.find(tx, parent_ids=list(steps)):
            children.setdefault(child.parent_id or "", []).append(child)
    below = {
        story.operation.id: story
        for story in (
            _stories(tx, [child for some in children.values() for child in some], depth + 1)
            if children
            else ()
        )
    }
    return [
        Story(
            operation=record,
            steps=steps[record.id],
            children=[below[child.id] for child in children.get(record.id, ())],
        )
        for record in records
    ]


# --- The first line -------------------------------------------------------------------------


def _headline(
    identifier: str,
    stories: list[Story],
    requests: list[RequestRecord],
    happened: list[events.Event],
    present: list[Condition],
) -> tuple[str, bool]:
    owners = {story.operation.project_id for story in stories} | {one.project_id for one in present}
    # Who was refused something that is not theirs says nothing about the thing.
    requests = [
        one for one in requests if one.status < 400 or not owners or one.project_id in owners
    ]
    last_request = requests[-1] if requests else None
    if stories:
        outcome, ok = _outcome(stories[-1])
        # A refusal that came later does not hide why the thing is as it is.
        if (
            not ok
            or last_request is None
            or last_request.status < 400
            or last_request.at < stories[-1].operation.created_at
        ):
            return (outcome, ok) if not ok else _trouble(present) or (outcome, ok)
    if trouble := _trouble(present):
        return trouble
    if last_request is not None:
        what = f"{last_request.method} {last_request.path}"
        if last_request.status >= 400:
            return f"{what} was refused with {last_request.status}: {last_request.error}", False
        return f"{what} was answered {last_request.status}", True
    if happened:
        return f"{happened[-1].kind} at {_moment(happened[-1].at)}", True
    if present:
        return str(present[-1]), True
    return f"Nothing is known of {identifier}.", False


def _trouble(present: list[Condition]) -> tuple[str, bool] | None:
    """What ails the thing now, if something does."""
    for one in present:
        if one.trouble:
            return str(one), False
    return None


def _outcome(story: Story) -> tuple[str, bool]:
    record = story.operation
    what = f"{record.kind} of {record.subject_type} {record.subject_id}"
    if record.state == DONE:
        return f"{what} was done in {_span(record.started_at, record.finished_at)}", True
    if record.state == journal.CANCELLED:
        return f"{what} was stopped: {record.error}", False
    if record.finished_at is not None or (record.state == UNWINDING and not _goes_on(record)):
        text = f"{what} failed{_where(story)}: {_root_cause(story)}"
        if record.finished_at is None:
            text += (
                " (being taken back)"
                if not record.undo_error
                else f"; taking it back does not succeed yet: {record.undo_error}"
            )
        return text, False
    if record.error or record.undo_error:
        return (
            f"{what} is tried again{_where(story)} (deadline {_moment(record.deadline)}): "
            f"{record.undo_error or record.error}"
        ), False
    if record.started_at is None:
        return f"{what} has not begun; it was asked for {_span(record.created_at, None)} ago", True
    return f"{what} is at step {record.step} for {_span(record.updated_at, None)}", True


def _goes_on(record: Record) -> bool:
    return record.resume_at is not None


def _where(story: Story) -> str:
    failed = story.failed_step
    return f" in step {failed.name}" if failed else ""


def _root_cause(story: Story) -> str:
    """The error of the deepest operation below that failed."""
    for child in reversed(story.children):
        if child.operation.error and child.operation.state != DONE:
            record = child.operation
            return (
                f"{record.kind} of {record.subject_type} {record.subject_id} failed"
                f"{_where(child)}: {_root_cause(child)}"
            )
    return story.operation.error or "no reason was kept"


# --- Text -----------------------------------------------------------------------------------


def _request_line(request: RequestRecord) -> str:
    action = f" ({request.action})" if request.action else ""
    rule = f" by rule {request.rule}" if request.rule else ""
    refused = f": {request.error}" if request.error else ""
    return (
        f"request {_moment(request.at)} {request.request_id} {request.method} "
        f"{request.path}{action} of user {request.user_id or '-'} in project "
        f"{request.project_id or '-'}{rule}: {request.status} in "
        f"{request.duration_micros / 1000:.1f} ms{refused}"
    )


def _story_lines(story: Story, indent: str) -> Iterator[str]:
    record = story.operation
    error = f": {record.error}" if record.error and record.state != DONE else ""
    yield (
        f"{indent}operation {_moment(record.created_at)} {record.kind} {record.id} of "
        f"{record.subject_type} {record.subject_id}: {record.state} "
        f"{'after' if record.finished_at else 'for'} "
        f"{_span(record.created_at, record.finished_at)}{error}"
    )
    for number, entry in enumerate(record.rounds, 1):
        yield f"{indent}  round {number} went back to {entry['step']}: {entry['reason']}"
    for step in story.steps:
        yield from _step_lines(step, indent + "  ")
    if record.undo_error:
        yield f"{indent}  not taken back yet: {record.undo_error} (tried {record.tries} times)"
    for child in story.children:
        yield from _story_lines(child, indent + "  ")


def _step_lines(step: StepRecord, indent: str) -> Iterator[str]:
    name = step.name if step.direction == "do" else f"undo {step.name}"
    outputs = ", ".join(f"{key}={_short(value)}" for key, value in (step.outputs or {}).items())
    yield (
        f"{indent}{name}: {step.state} {_span(step.started_at, step.finished_at)}"
        f"{f' [{outputs}]' if outputs else ''}{f': {step.error}' if step.error else ''}"
    )
    for entry in step.trail:
        parts: Iterable[str] = (
            f"on {entry['host']}" if entry.get("host") else "",
            entry["text"],
            f"({entry['duration_seconds'] * 1000:.1f} ms)" if "duration_seconds" in entry else "",
            f"-> {entry['result']}" if entry.get("result") not in (None, "", "ok") else "",
            "" if entry.get("ok", True) else "FAILED",
        )
        yield f"{indent}  {entry['kind']} {' '.join(part for part in parts if part)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _moment(micros: int) -> str:
    return (clock.iso_micros(micros) or "")[:23] + "Z"


def _span(begin: int | None, end: int | None) -> str:
    if begin is None:
        return "0 s"
    return f"{((end or clock.now()) - begin) / 1e6:.3f} s"
