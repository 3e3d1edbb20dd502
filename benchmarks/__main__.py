"""`python -m benchmarks [storm] [api] [identity] [image] [ring] ...`: run them all, or some."""

from __future__ import annotations

import importlib
import sys

for name in sys.argv[1:] or (
    "storm",
    "api",
    "identity",
    "image",
    "first_vm",
    "ring",
    "object_store",
    "object_cluster",
):
    print(f"--- {name}", flush=True)
    importlib.import_module(f"benchmarks.{name}").main()
