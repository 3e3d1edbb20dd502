"""Serving calls: from the bytes of a `NodeCall` to the bytes of a `NodeReply`, never an exception.

Both directions use it: the node serves NODE_CALLS (`agent.py`), the control plane serves
CONTROL_CALLS (`control.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nubelet.node import trail
from nubelet.node.errors import BAD_CALL, NODE_ERROR, HostError
from nubelet.node.wire import (
    Fence,
    NodeCall,
    NodeFailure,
    NodeReply,
    Nothing,
    Spec,
    TrailEntry,
    decode,
    encode,
)

log = logging.getLogger(__name__)

CallTable = Mapping[str, tuple[type[Spec], type[Spec], float]]
Handler = Callable[[Any], Spec | None]  # None answers Nothing
# (method, argument, fence, handler) -> answer: what the server does around each handler.
Around = Callable[[str, Spec, Fence | None, Handler], Spec | None]


def serve(
    raw: bytes, table: CallTable, handlers: Mapping[str, Handler], around: Around | None = None
) -> bytes:
    """Decode a call, run its handler, encode the answer or the failure with its trail."""
    with trail.recording() as entries:
        try:
            answer = _serve(raw, table, handlers, around)
        except HostError as error:
            return _failure(error.code, error.message, error.detail, entries)
        except Exception as error:
            # A defect. The user gets a sentence; the log gets the stack.
            log.exception("a call failed in a way that nobody foresaw")
            message = (
                f"The node met an error that it does not know: {str(error) or type(error).__name__}"
            )
            return _failure(NODE_ERROR, message, type(error).__name__, entries)
        return encode(NodeReply(answer=encode(answer or Nothing()), trail=tuple(entries)))


def _serve(
    raw: bytes, table: CallTable, handlers: Mapping[str, Handler], around: Around | None
) -> Spec | None:
    try:
        call = decode(raw, NodeCall)
        handler = handlers[call.method]
        argument = decode(call.argument, table[call.method][0])
    except KeyError as error:
        raise HostError(BAD_CALL, f"There is no call {error}") from None
    except msgspec.MsgspecError as error:
        raise HostError(BAD_CALL, f"The call does not fit its definition: {error}") from None
    if around is None:
        return handler(argument)
    return around(call.method, argument, call.fence, handler)


def _failure(code: str, message: str, detail: str, entries: list[TrailEntry]) -> bytes:
    failure = NodeFailure(code=code, message=message, detail=detail)
    return encode(NodeReply(failure=failure, trail=tuple(entries)))
