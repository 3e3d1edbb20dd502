"""Types are decoded by many threads from their first value on."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import nubelet

# Each thread decodes the first value of a new type in the same moment as the others.
_MANY_THREADS = """
import sys, threading
import msgspec
from nubelet.decoding import prepared

sys.setswitchinterval(1e-6)

def rounds():
    for number in range(150):
        fields = [(f"field{place}", "int | str | None", None) for place in range(20)]
        inner = msgspec.defstruct(f"Inner{number}", fields)
        outer = msgspec.defstruct(f"Outer{number}", [("inner", inner), *fields])
        raw = msgspec.msgpack.encode({"inner": {"field1": number}, "field19": "x"})
        barrier = threading.Barrier(8)
        wrong = []

        def decode():
            barrier.wait()
            found = msgspec.msgpack.decode(raw, type=prepared(outer))
            if (found.inner.field1, found.field19) != (number, "x"):
                wrong.append(found)

        threads = [threading.Thread(target=decode) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert not wrong, wrong

rounds()
"""


def test_threads_that_decode_the_first_value_of_a_type_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MANY_THREADS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""


def _named_types(call: ast.Call) -> list[ast.expr]:
    """The types that a call of msgspec names."""
    words = ast.unparse(call.func).split(".")
    if words[0] != "msgspec":
        return []
    if words[-1] == "Decoder":
        return call.args[:1]
    if words[-1] == "convert":
        return call.args[1:2] + [each.value for each in call.keywords if each.arg == "type"]
    if words[-1] == "decode":
        return [each.value for each in call.keywords if each.arg == "type"]
    return []


def test_every_type_that_is_named_to_msgspec_was_prepared() -> None:
    source = Path(nubelet.__file__).parent
    found, bare = 0, []
    for path in sorted(source.rglob("*.py")):
        if path.name == "decoding.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            for kind in _named_types(node) if isinstance(node, ast.Call) else []:
                found += 1
                if not ast.unparse(kind).startswith("prepared("):
                    bare.append(f"{path.relative_to(source)}:{kind.lineno}")
    assert found > 20
    assert not bare, bare
