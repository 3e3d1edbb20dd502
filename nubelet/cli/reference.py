"""Pages of docs/reference/ that are made from the code: `python -m nubelet.cli.reference DIR`.

A test compares the pages in the repository with what this makes, so they cannot drift apart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

from nubelet.settings import Option, as_toml, options

_HEAD = """\
# Settings

Made from `nubelet/settings/options.py` by `make docs`; do not edit.

An option is read from `nubelet.toml` in the state folder (or the file named by `--config` or
`NUBELET_CONFIG`), then from the environment, then from the command line; the later wins.
`nubelet config explain OPTION` prints the value in force and where it came from.

```toml
[http]
port = 8787            # or NUBELET_HTTP_PORT=8787
```

Lists and tables in the environment are JSON, or values with commas between them.
STATE_DIR stands for the value of `state_dir`.
"""


def settings_page() -> str:
    """docs/reference/settings.md."""
    parts = [_HEAD]
    for section, group in groupby(options(), key=lambda option: option.section):
        parts.append(f"\n## {'[' + section + ']' if section else 'Outside any table'}\n")
        parts.extend(_entry(option) for option in group)
    return "\n".join(parts)


def _entry(option: Option) -> str:
    default = option.default_text or as_toml(option.default)
    lines = [
        f"### `{option.name}`",
        "",
        option.description,
        "",
        f"- Value: {option.expected}",
        f"- Default: `{default}`",
        f"- Environment: `{option.variable}`",
    ]
    if option.examples:
        lines.append(f"- Example: `{option.field} = {as_toml(option.examples[0])}`")
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {"settings.md": settings_page}


def write(directory: Path) -> list[Path]:
    """Write every page into `directory`; the paths of the ones that changed."""
    directory.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, make in PAGES.items():
        path, text = directory / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    for page in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")):
        print(f"wrote {page}")
