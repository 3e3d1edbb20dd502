"""The first steps of imports: data comes into the staging area, from the web or another cloud.

In OpenStack: glance/async_/flows/_internal_plugins.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from nubelet.image import direct, web_download
from nubelet.image.operations import staged
from nubelet.image.schemas import RESERVED_PREFIX
from nubelet.kernel.errors import Unauthorized
from nubelet.kernel.operations.run import Run

SILENCE_SECONDS = 60
# Properties that come along from another cloud: what a guest's hardware and system need.
TAKEN_PREFIXES = ("hw_", "trait:")
TAKEN = frozenset({"os_distro", "os_secure_boot", "os_type"})


class RemoteFailed(Exception):  # noqa: N818 - a finding
    """The other cloud does not give us the image; the text says why."""


def download(run: Run) -> dict[str, Any]:
    """Fetch the data from the URL that the user gave."""
    uri = run.inputs["import_req"]["method"]["uri"]
    allowed = run.cloud.settings.image.web_download_networks
    staged.remove(run)
    key = staged.new_key(run, staged.DOWNLOADED)
    size = staged.write(run, key, web_download.fetch(uri, allowed), "Downloaded")
    run.note("http", f"GET {uri}", result=f"{size} bytes")
    return {"staged": key}


def fetch_remote(run: Run) -> dict[str, Any]:
    """Fetch attributes and data of an image of another region of this cloud's identity."""
    method = run.inputs["import_req"]["method"]
    url = _endpoint(run, method.get("glance_region", ""), method["glance_service_interface"])
    one = f"{url}/v2/images/{method['glance_image_id']}"
    token = _token(run)
    with closing(_ask(one, token)) as answer:
        remote = json.load(answer)
    if remote.get("status") != "active":
        raise RemoteFailed(f"image {remote.get('id')} is {remote.get('status')} there, not active")
    staged.remove(run)
    key = staged.new_key(run, staged.DOWNLOADED)
    with closing(_ask(f"{one}/file", token)) as answer:
        size = staged.write(run, key, _read(answer), "Downloaded")
    run.note("http", f"GET {one}/file", result=f"{size} bytes")
    if remote.get("size") not in (None, size):
        raise RemoteFailed(f"{size} bytes came instead of {remote['size']}")
    return {
        "staged": key,
        "disk_format": remote["disk_format"],
        "container_format": remote["container_format"],
        "properties": {name: value for name, value in remote.items() if _is_taken(name)},
    }


def remove_staged(run: Run) -> None:
    """Nothing of it is left."""
    staged.remove(run)


def _is_taken(name: str) -> bool:
    return not name.startswith(RESERVED_PREFIX) and (
        name.startswith(TAKEN_PREFIXES) or name in TAKEN
    )


def _endpoint(run: Run, region: str, interface: str) -> str:
    from nubelet import identity

    with run.cloud.database.read() as tx:
        url = identity.find_endpoint(
            tx, "image", interface, region, project_id=run.credentials.project_id
        )
    if url is None:
        raise RemoteFailed(f"the catalog has no {interface} endpoint of images in region {region}")
    return url.rstrip("/").removesuffix("/v2")


def _token(run: Run) -> str:
    """A token of whoever asked, made when it is needed: none is ever written into the journal. It
    is worth what the one that asked was, where that was delegated."""
    from nubelet import identity

    try:
        return identity.issue_token_as(run.cloud, run.credentials)
    except Unauthorized as error:
        raise RemoteFailed(f"who asked for the import may not go on with it: {error}") from None


def _ask(url: str, token: str) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"X-Auth-Token": token})  # noqa: S310 - catalog
    try:
        answer: http.client.HTTPResponse = direct.opener.open(request, timeout=SILENCE_SECONDS)
    except urllib.error.HTTPError as error:
        raise RemoteFailed(f"{url} answered {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise RemoteFailed(f"{url} cannot be read: {error}") from None
    if answer.status != 200:
        raise RemoteFailed(f"{url} answered {answer.status}")
    return answer


def _read(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := answer.read(staged.CHUNK_BYTES):
        yield chunk
