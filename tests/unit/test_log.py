"""Log lines: whose they are, and never a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from nubelet.kernel.log import bound, scrub, setup


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    for handler in [one for one in logger.handlers if one not in handlers]:
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("password=hunter2 user=u", "password=*** user=u"),
        ('{"adminPass": "a\\"b", "name": "x"}', '{"adminPass"=***, "name": "x"}'),
        ("{'password': 'p w', 'id': 1}", "{'password'=***, 'id': 1}"),
        ("X-Auth-Token: gAAAAABabcdef", "X-Auth-Token=***"),
        ("Authorization: Bearer abc.def, next", "Authorization=***, next"),
        ("postgresql://nubelet:s3cret@db/nubelet", "postgresql://nubelet:***@db/nubelet"),
        ("amqp://guest:guest@127.0.0.1:5672//", "amqp://guest:***@127.0.0.1:5672//"),
        ("seen gAAAAABm0000000000000000000000000000 there", "seen *** there"),
        ("client_secret=abc&x=1", "client_secret=***&x=1"),
        ("original_password: 'x'", "original_password=***"),
    ],
)
def test_secrets_are_blanked(text: str, clean: str) -> None:
    assert scrub(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "GET /identity/v3/auth/tokens 200",
        "the token of user u1 has expired",
        "http://10.0.0.1:8080/a@b",
        "password hashing took 20 ms",
        "step start_guest: done",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_says_which_request_and_operation_it_belongs_to(
    form: Literal["text", "json"], tmp_path: Path, root: logging.Logger
) -> None:
    path = tmp_path / "log"
    setup(form=form, path=str(path))
    log = logging.getLogger("nubelet.test")
    with bound(request_id="req-1", operation_id="op-1"):
        log.info("inside, password=%s", "hunter2")
    log.debug("too fine")
    log.info("outside")
    inside, outside = path.read_text().splitlines()
    assert "req-1" in inside
    assert "op-1" in inside
    assert "inside, password=***" in inside
    assert "hunter2" not in inside
    assert "req-1" not in outside
    if form == "json":
        entry = json.loads(inside)
        assert (entry["level"], entry["logger"], entry["request_id"], entry["operation_id"]) == (
            "INFO",
            "nubelet.test",
            "req-1",
            "op-1",
        )


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_kept_and_cleaned(
    form: Literal["text", "json"], tmp_path: Path, root: logging.Logger
) -> None:
    path = tmp_path / "log"
    setup(form=form, path=str(path))
    try:
        raise ValueError("token=abc")
    except ValueError:
        logging.getLogger("nubelet.test").exception("it broke")
    text = path.read_text()
    assert "ValueError" in text
    assert "test_log.py" in text
    assert "abc" not in text


def test_setting_up_again_replaces_what_was_before(tmp_path: Path, root: logging.Logger) -> None:
    setup(path=str(tmp_path / "one"))
    setup(path=str(tmp_path / "two"))
    logging.getLogger("nubelet.test").warning("once")
    assert (tmp_path / "one").read_text() == ""
    assert len((tmp_path / "two").read_text().splitlines()) == 1


def test_what_a_client_names_is_one_line(root: logging.Logger, tmp_path: Path) -> None:
    """Else names in paths forge lines, and tell the terminal of who reads them what to do."""
    path = tmp_path / "log"
    setup(path=str(path))
    logging.getLogger("nubelet.test").info(
        '"PUT /c/%s" 201', "o\n2026 INFO forged\x1b[31m\x9b\u2028ü"
    )
    text = path.read_text()
    assert text.count("\n") == 1
    assert text.endswith('"PUT /c/o\\n2026 INFO forged\\x1b[31m\\x9b\\u2028ü" 201\n')
