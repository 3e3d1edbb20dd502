"""Every route of every service, asked by everybody about things of their own and of others, gets
what the reviewed tables say. `python -m tests.authorization` tells what differs."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator

import pytest

from tests.asgi import Answer
from tests.authorization import table
from tests.authorization.asking import Call
from tests.authorization.callers import COLUMNS, Caller
from tests.authorization.matrix import SERVICES, Matrix
from tests.authorization.table import Row

_HINT = "python -m tests.authorization {} (CONTRIBUTING.md, Authorization)"
Found = Callable[[str], dict[str, tuple[Call, Row]]]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    made = Matrix(tmp_path_factory.mktemp("matrix"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def found(matrix: Matrix) -> Found:
    """What every route of a service does now; asked once, when it is first wanted."""
    return functools.cache(
        lambda service: {str(call): (call, matrix.row(call)) for call in matrix.calls(service)}
    )


def test_all_services_are_there(matrix):
    assert matrix.tested.missing == {}, "these services are not there to be asked"


@pytest.mark.parametrize("service", SERVICES)
def test_who_gets_what(found, service):
    rows, now = table.read(service), found(service)
    assert rows.keys() - now.keys() == set(), "rows without a route: " + _HINT.format("--add")
    assert now.keys() - rows.keys() == set(), "routes without a row: " + _HINT.format("--add")
    wrong = [
        f"- {rows[route]}\n+ {row}"
        for route, (_, row) in now.items()
        if row != rows[route]._replace(note="")
    ]
    assert "\n".join(wrong) == "", _HINT.format("")


@pytest.mark.parametrize("service", SERVICES)
def test_every_row_proves_something(found, service):
    """Where nobody is let in, the example may be wrong, and nothing shows that others are kept
    out: the row says why that is right."""
    rows = table.read(service)
    blind = [
        route
        for route, (_, row) in found(service).items()
        if not row.lets_somebody_in and route in rows and not rows[route].note
    ]
    assert blind == [], f"give a better example in examples/{service}/, or the row a note"


def test_nothing_breaks(matrix, found):
    for service in SERVICES:
        found(service)
    assert matrix.failures == []


# Things that everybody may see, though not change: that they exist is no secret.
_KNOWN = ("(public)", "/default-security-group-rules/")
# What upstream tells everybody of, and keystone_tempest_plugin wants told: that it is not there.
# Of a trust that is used up, too (upstream's bug 1840288 asked for it).
_TOLD = (
    "/v3/roles/{role_id}",
    "PATCH /v3/domains/{domain_id}",
    "DELETE /v3/groups/{group_id}",
    "/OS-TRUST/trusts/{trust_id}",
    "/credentials/OS-EC2/{credential_id}",
)
_STRANGERS = (
    Caller("member", "other"),
    Caller("manager", "other"),
    Caller("domain_manager", "foreign"),
    Caller("nobody", "other"),
)


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_learns_whether_a_thing_of_others_exists(matrix, service):
    """What is not there gets the refusal, and the words, of what one may not see."""
    wrong = []
    for call in matrix.calls(service):
        if call.route.open or any(part in str(call) for part in (*_KNOWN, *_TOLD)):
            continue
        for who in _STRANGERS:
            token = matrix.tested.user(who.persona).token
            there = matrix.ask(call, who.world, token, who.persona)
            if there.status < 400:
                continue
            gone = matrix.ask(call, who.world, token, who.persona, missing=True)
            if _words(there) != _words(gone):
                wrong.append(f"{call} by {who}:\n  {_words(there)}\n  {_words(gone)}")
    assert "\n".join(wrong) == ""


def _words(answer: Answer) -> str:
    """What a refusal says, whatever it names."""
    text = re.sub(r"[\w-]*[0-9a-f-]{32,}", "ID", answer.body.decode())
    return f"{answer.status} {text}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_route_has_a_rule_that_is_defined_or_is_open_to_everybody(matrix, service):
    defined = {rule.name for rule in matrix.services[service].rules}
    for call in matrix.calls(service):
        if matrix.services[service].routes:  # a gateway has access lists instead
            assert call.route.open or call.route.rule in defined, call


@pytest.mark.parametrize("service", SERVICES)
def test_a_token_that_is_none(matrix, service):
    """A wrong token gets what no token gets: 401, but for what is public."""
    wrong = []
    for call in matrix.calls(service):
        if call.route.open:
            continue
        answer = matrix.ask(call, "own", "gAAAAABnonsense")
        if answer.status != matrix.ask(call, "own", None).status:
            wrong.append(f"{call}: {answer.status}")
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_refusal_carries_a_challenge_and_the_services_envelope(matrix, service):
    call = next(call for call in matrix.calls(service) if not call.route.open)
    answer = matrix.answer(call, COLUMNS[0].callers[0])
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith(("Keystone uri=", "Swift realm="))
    assert answer.body
    kind = "tx" if service == "object_store" else "req-"  # Swift's own transaction ids
    assert answer.headers["x-openstack-request-id"].startswith(kind)
