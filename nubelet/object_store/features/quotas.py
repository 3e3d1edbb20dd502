"""Quotas of containers and accounts: how many bytes and objects they may hold.

Container: `X-Container-Meta-Quota-Bytes`, `-Quota-Count`, set by its owner. Account:
`X-Account-Meta-Quota-Bytes` or `X-Account-Quota-Bytes`, `X-Account-Quota-Count`, each also
`-Policy-<name>`, set by a ResellerAdmin. What is counted may be a moment behind.

In OpenStack: swift/common/middleware/container_quotas.py, account_quotas.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from nubelet.kernel.errors import BadRequest, Forbidden, TooLarge
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.features.authorization import RESELLER
from nubelet.object_store.features.version_names import ENABLED, hidden
from nubelet.object_store.storage import Missing

_BYTES, _COUNT = "x-container-meta-quota-bytes", "x-container-meta-quota-count"
_ACCOUNT_OLD = "x-account-meta-quota-bytes"
_ASKED = "x-account-quota-"
_KEPT = "x-account-sysmeta-quota-"


def container_quotas(call: Call, proceed: Proceed) -> Response:
    """Refuse what passes a container's quota."""
    if not call.container:
        return proceed(call)
    if not call.object:
        if call.method in ("PUT", "POST"):
            for name, kind in ((_BYTES, "bytes"), (_COUNT, "count")):
                value = call.headers.get(name)
                if value and not _is_number(value):
                    raise BadRequest(f"Invalid {kind} quota.")
        return proceed(call)
    if call.method != "PUT" or call.reserved:
        return proceed(call)
    info = call.container_info()
    if info is not None:
        size = _size(call)
        most, count = info.metadata.get(_BYTES), info.metadata.get(_COUNT)
        if most is not None and ENABLED in info.metadata:  # versions count, as they are kept
            kept = call.container_info(call.account, hidden(call.container))
            size += kept.bytes_used if kept else 0
        if (most is not None and info.bytes_used + size > int(most)) or (
            count is not None and info.object_count + 1 > int(count)
        ):
            call.authorize(info.metadata.get("x-container-write", ""))
            raise TooLarge("Upload exceeds quota.")
    return proceed(call)


def account_quotas(call: Call, proceed: Proceed) -> Response:
    """Refuse what passes an account's quota; let resellers alone set one."""
    if not call.container:
        if call.method in ("PUT", "POST"):
            _set(call)
        return _shown(call, proceed(call))
    if call.method != "PUT" or not call.object or call.reserved:
        return proceed(call)
    metadata = call.account_metadata()
    if any(name == _ACCOUNT_OLD or name.startswith(_KEPT) for name in metadata):
        _check(call)
    return proceed(call)


def _set(call: Call) -> None:
    headers = call.headers
    for name in list(headers):
        for start in ("x-remove-account-quota-", "x-remove-account-meta-quota-bytes"):
            if name.startswith(start):
                headers["x-" + name[len("x-remove-") :]] = ""
    asked = {
        name: value
        for name, value in headers.items()
        if name == _ACCOUNT_OLD or name.startswith(_ASKED)
    }
    if not asked:
        return
    if RESELLER not in call.ctx.roles:
        call.authorize()
        raise Forbidden(f"Only the role {RESELLER} sets quotas of accounts.")
    for name, value in asked.items():
        if value and not _is_number(value):
            raise BadRequest(f"Invalid quota: {name.title()}")
        if name.startswith(_ASKED):
            kind, _, policy = name[len(_ASKED) :].partition("-policy-")
            found = call.store.policies.named(policy) if policy else None
            if kind not in ("bytes", "count") or (policy and found is None):
                raise BadRequest(f"There is no such quota: {name.title()}")
            key = f"{kind}-policy-{found.index}" if found else kind
            headers[_KEPT + key] = value


def _shown(call: Call, response: Response) -> Response:
    if not call.is_read or not response.headers:
        return response
    for name, value in list(response.headers.items()):
        lower = name.lower()
        if lower.startswith(_KEPT):
            kind, _, index = lower[len(_KEPT) :].partition("-policy-")
            policy = f"-Policy-{call.store.policies[int(index)].name}" if index else ""
            response.headers[f"X-Account-Quota-{kind.title()}{policy}"] = value
        elif lower == _ACCOUNT_OLD:
            response.headers.setdefault("X-Account-Quota-Bytes", value)
    return response


def _check(call: Call) -> None:
    try:
        account = call.store.account(call.account)
    except Missing:
        return
    container = call.container_info()
    size, metadata = _size(call), account.metadata
    used = {"bytes": account.bytes_used + size, "count": account.object_count + 1}
    passed = _passes(used, metadata, "")
    if not passed and container is not None and container.policy in account.policies:
        usage = account.policies[container.policy]
        used = {"bytes": usage.bytes_used + size, "count": usage.object_count + 1}
        passed = _passes(used, metadata, f"-policy-{container.policy}")
    if passed:
        call.authorize(container.metadata.get("x-container-write", "") if container else "")
        if RESELLER not in call.ctx.roles:
            raise TooLarge("Upload exceeds quota.")


def _passes(used: Mapping[str, int], metadata: Mapping[str, str], suffix: str) -> bool:
    for kind, number in used.items():
        limit = metadata.get(f"{_KEPT}{kind}{suffix}")
        if limit is None and kind == "bytes" and not suffix:
            limit = metadata.get(_ACCOUNT_OLD)
        if limit is not None and number > int(limit):
            return True
    return False


def _size(call: Call) -> int:
    declared = call.headers.get("content-length", "0")
    return int(declared) if _is_number(declared) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
