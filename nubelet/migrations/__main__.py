"""Write the next step by comparing the tables in the code with those of the last step."""

from __future__ import annotations

import subprocess
import sys
import tempfile

from alembic import command

from nubelet import migrations, wiring
from nubelet.kernel.database import Database, Json


def _render(kind: str, item: object, context: object) -> str | bool:
    """Our own column types are plain ones to the database."""
    return "sa.Text()" if kind == "type" and isinstance(item, Json) else False


def main(message: str) -> None:
    """Write versions/NNNN_<message>.py."""
    wiring.make_services()
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/schema.sqlite")
        versions = migrations.steps()
        if versions:
            migrations.upgrade(database)
        number = f"{len(versions) + 1:04d}"
        with database.engine.connect() as connection:
            config = migrations.config(connection)
            config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
            config.attributes["render_item"] = _render
            script = command.revision(config, message, autogenerate=True, rev_id=number)
        database.close()
    assert script is not None
    assert not isinstance(script, list)
    _tidy(script.path)


def _tidy(path: str) -> None:
    """Bring a generated file to the form that `make check` wants."""
    for words in (("format", "--quiet"), ("check", "--fix", "--quiet")):
        subprocess.run([sys.executable, "-m", "ruff", *words, path], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
