"""`nubelet doctor`: is everything as it must be, in database, hypervisor, network and disks?

The cloud examines itself (`nubelet/operating/doctor.py`). What it cannot see from inside is looked
at here: whether clients get an answer at every endpoint of their catalog, and whether others on
this machine could read its secrets.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from nubelet import __version__
from nubelet.cli.asking import ask, catalog
from nubelet.cli.instance import Instance, state_dir_option

_ANSWER_SECONDS = 5.0


@click.command()
@state_dir_option
def doctor_command(state_dir: Path) -> None:
    """Check every invariant of the cloud.

    Exit code 0: all is well. 1: something is not, or the cloud does not answer.
    """
    instance = Instance(state_dir)
    answer = ask(instance, "/doctor")["doctor"]
    status = ask(instance, "/status")["status"]
    services = {one["type"] for one in status["services"]}
    areas = {
        **answer["findings"],
        "endpoints": _endpoints(catalog(instance), services),
        "files": _files(instance),
        "versions": versions(status["version"]),
    }
    for area, findings in areas.items():
        click.secho(f"{'✗' if findings else '✓'} {area}", fg="red" if findings else "green")
        for finding in findings:
            click.echo(f"    {finding}")
    sys.exit(1 if any(areas.values()) else 0)


def _endpoints(entries: list[dict[str, Any]], services: set[str]) -> list[str]:
    """Every service is in the administrator's catalog, and answers where that says."""
    if not entries:
        return ["the administrator's catalog is empty: clients will not find any service"]
    offered = {entry["type"] for entry in entries if entry["endpoints"]}
    missing = services - offered
    urls = sorted(
        {(entry["type"], each["url"]) for entry in entries for each in entry["endpoints"]}
    )
    with ThreadPoolExecutor(8) as pool:
        silent = pool.map(lambda pair: _silence(*pair), urls)
    return [
        *(f"service {each} is not in the administrator's catalog" for each in sorted(missing)),
        *filter(None, silent),
    ]


def _silence(kind: str, url: str) -> str:
    """What is wrong with an endpoint; a refusal is an answer too."""
    try:
        urllib.request.urlopen(url, timeout=_ANSWER_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        return (
            f"endpoint {url} of service {kind} answers {error.code} {error.reason}"
            if error.code >= 500 or error.code == 404
            else ""
        )
    except (OSError, ValueError) as error:
        return (
            f"endpoint {url} of service {kind} does not answer: {getattr(error, 'reason', error)}"
        )
    return ""


def versions(running: str) -> list[str]:
    """What runs is what is installed."""
    if running == __version__:
        return []
    return [
        f"the cloud runs version {running}, but {__version__} is installed here: `nubelet down` "
        "and `nubelet up` bring them together"
    ]


def _files(instance: Instance) -> list[str]:
    """Secrets that lie in the state folder are for their owner alone."""
    secrets = [
        instance.password_file,
        *instance.state_dir.glob("demo/*-password"),
        *instance.state_dir.glob("demo/id_*"),
    ]
    return [
        f"{path} can be read by others: its mode must be 0600"
        for path in secrets
        if path.exists() and path.suffix != ".pub" and path.stat().st_mode & 0o077
    ]
