"""How a process of a cloud hears that it shall end."""

from __future__ import annotations

import subprocess
import sys

import pytest

TOLD_IN_A_FINALIZER = """
import os, signal
from nubelet.running import _Ending

class Closes:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):  # somewhere here the handler runs, and what it raises is dropped
            pass

ending = _Ending()
closes = Closes()
del closes
"""


@pytest.mark.parametrize(
    "then",
    [
        "print(ending.wait(0))",
        "ending.when_asked(lambda: print(True))",
    ],
)
def test_a_signal_is_not_lost_whatever_the_start_was_doing(then: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOLD_IN_A_FINALIZER + then],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "True\n", done.stderr


WAITS = """
import os, signal, threading
from nubelet.running import _Ending

ending = _Ending()
print(ending.wait(0.01))
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
print(ending.wait())
"""


def test_who_waits_is_woken_by_the_signal() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WAITS], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\nTrue\n", done.stderr
