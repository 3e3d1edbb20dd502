"""What a step gets: one run of one operation, as the journal has it.

A step reads `inputs` and `outputs`, acts through `cloud`, passes `fence` to nodes and leaves
`note`s for whoever asks later what happened. All its write transactions are checked against the
lease without its doing.

Read next: `steps.py`, `engine.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nubelet.kernel import clock
from nubelet.kernel.context import ANONYMOUS, Context, Credentials, Version

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud
    from nubelet.kernel.operations.ledger import Job
    from nubelet.node.wire import Fence, TrailEntry


MAX_NOTES = 500  # of one step; the last one says that there were more


def storable(text: str) -> str:
    """Text as every database takes it: no NUL, no broken Unicode."""
    return text.replace("\0", "").encode(errors="replace").decode()


@dataclass(frozen=True)
class Round:
    """A round that `RetryFrom` ended: where it went back to, why, and the outputs it had."""

    step: str
    reason: str
    outputs: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Run:
    """One run of one operation.

    outputs: those of all finished steps, merged. attempt: grows with every claim, retry and
    turn-round; nodes and the database refuse older ones. tries: how often this step failed
    already. deadline: of the operation or this step, whichever is sooner, in microseconds.
    retried: the rounds that `RetryFrom` ended. unwinding: is this an undo?
    """

    cloud: Cloud
    operation_id: str
    kind: str
    project_id: str
    subject_type: str
    subject_id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any] = field(default_factory=dict)
    attempt: int = 0
    tries: int = 0
    step: str = ""
    unwinding: bool = False
    deadline: int = 0
    request_id: str = ""
    global_request_id: str | None = None
    user_id: str = ""
    credentials: Credentials = ANONYMOUS
    parent_id: str | None = None
    retried: tuple[Round, ...] = ()
    error: str = ""  # while unwinding: why
    trail: list[dict[str, Any]] = field(default_factory=list)
    job: Job | None = None  # for the engine only

    @property
    def fence(self) -> Fence:
        """What a node needs to refuse a worker that lost its lease."""
        from nubelet.node.wire import Fence

        return Fence(
            operation_id=self.operation_id, attempt=self.attempt, request_id=self.request_id
        )

    @property
    def stopping(self) -> bool:
        """Was this operation asked to stop, or its lease lost? A long step may look and end."""
        return self.job is not None and bool(self.job.stop_reason or self.job.lost)

    def ctx(self, service: str, version: Version = (0, 0)) -> Context:
        """The caller who asked for this operation, as a service sees them."""
        return Context(
            self.cloud,
            service,
            self.credentials,
            request_id=self.request_id,
            global_request_id=self.global_request_id,
            version=version,
        )

    def seconds_left(self) -> float:
        """Until the deadline; at least 0."""
        return max(0.0, (self.deadline - clock.now()) / 1e6)

    def note(
        self,
        kind: str,
        text: str | None = None,
        *,
        ok: bool = True,
        result: str = "",
        host: str = "",
        duration_seconds: float | None = None,
        started_at: int | None = None,
    ) -> None:
        """Leave an entry for `nubelet explain`: `note("text")` or `note(kind, "text", ...)`.

        Kinds in use: note, scheduling, command, libvirt, file, http, node.
        """
        if len(self.trail) >= MAX_NOTES:
            self.trail[MAX_NOTES - 1] = {
                "at": clock.now(),
                "kind": "note",
                "text": f"the trail was cut here after {MAX_NOTES} entries",
            }
            return
        if text is None:
            kind, text = "note", kind
        entry: dict[str, Any] = {
            "at": started_at or clock.now(),
            "kind": kind,
            "text": storable(text),
        }
        if not ok:
            entry["ok"] = False
        if result:
            entry["result"] = storable(result)
        if host:
            entry["host"] = host
        if duration_seconds is not None:
            entry["duration_seconds"] = duration_seconds
        self.trail.append(entry)

    def on_trail(self, host: str, method: str, entries: Iterable[TrailEntry]) -> None:
        """Keep what a node did during a call: `NodeClient(bus, host, on_trail=run.on_trail)`."""
        for entry in entries:
            self.note(
                entry.kind,
                f"{method}: {entry.what}",
                ok=entry.ok,
                result=entry.result,
                host=host,
                duration_seconds=entry.duration_seconds,
                started_at=entry.started_at,
            )
