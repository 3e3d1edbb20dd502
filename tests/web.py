"""A small web server with files for tests: images that others serve."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def served(folder: Path, files: Mapping[str, bytes]) -> Iterator[str]:
    """The URL of a server on loopback that has these files."""
    for name, content in files.items():
        (folder / name).write_bytes(content)

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: Any) -> None:
            return

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()
        made.server_close()
