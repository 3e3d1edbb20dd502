"""The one way a node says no: a stable code, a sentence that names the cause, and detail.

Codes are part of the contract with the control plane (`wire.NodeFailure`); the message is shown
to users as it stands, so it names the subject, the cause and, where it helps, the numbers.
"""

from __future__ import annotations

from typing import Final

# The codes a node answers with.
BAD_CALL: Final = "bad_call"  # not a call this node understands
FENCED: Final = "fenced"  # an older attempt of an operation
NO_SUCH_GUEST: Final = "no_such_guest"
GUEST_STATE: Final = "guest_state"  # the guest is not in a state that allows it
HYPERVISOR_REFUSED: Final = "hypervisor_refused"
DISK_FULL: Final = "disk_full"
DISK_TOO_SMALL: Final = "disk_too_small"  # the image does not fit on it
DISK_DIFFERS: Final = "disk_differs"  # there is one of that id, made otherwise
DISK_MISSING: Final = "disk_missing"
SNAPSHOT_MISSING: Final = "snapshot_missing"
IMAGE_MISSING: Final = "image_missing"
IMAGE_CORRUPT: Final = "image_corrupt"
IMAGE_UNREACHABLE: Final = "image_unreachable"
NO_SUCH_NETWORK: Final = "no_such_network"
NO_SUCH_PORT: Final = "no_such_port"
NETWORK_UNSUPPORTED: Final = "network_unsupported"  # this host cannot carry such a network
DHCP_FAILED: Final = "dhcp_failed"
COMMAND_FAILED: Final = "command_failed"
COMMAND_TIMEOUT: Final = "command_timeout"
BUSY: Final = "busy"  # another call for the same subject does not end
NODE_ERROR: Final = "node_error"  # a defect of the node itself


class HostError(Exception):
    """Something on this host could not be done. `message` is a sentence for the user."""

    def __init__(self, code: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
