"""Clouds of this process as hosts that `requests` reaches: for client libraries built on it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter

from tests.cloud import TestedCloud


def wire(clouds: dict[str, TestedCloud]) -> requests.Session:
    """A session for which the hosts of these names are the clouds; others are what they are."""
    session = requests.Session()
    for name in clouds:
        session.mount(f"http://{name}/", Internet(clouds, session))
    return session


class Internet(BaseAdapter):
    """Carries what `requests` asks of home.test and away.test to the clouds in this process."""

    def __init__(self, clouds: dict[str, TestedCloud], wire: requests.Session) -> None:
        super().__init__()
        self.clouds, self.wire = clouds, wire

    def send(self, request: Any, **_: Any) -> requests.Response:
        client = self.clouds[urlsplit(request.url).hostname].client(None)
        answer = client.request(
            request.method,
            request.url,
            headers={**request.headers, "Host": urlsplit(request.url).netloc},
            content=request.body,
        )
        found = requests.Response()
        found.status_code, found.url, found.request = answer.status_code, request.url, request
        found.headers = requests.structures.CaseInsensitiveDict(answer.headers)
        found._content = answer.content
        found.reason = ""
        for name, value in answer.cookies.items():
            self.wire.cookies.set(name, value, domain=urlsplit(request.url).hostname)
        return found

    def close(self) -> None: ...
