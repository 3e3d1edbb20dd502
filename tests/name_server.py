"""A name server for tests, on a port of its own: what it knows is a table of aliases."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer:
    """aliases: name -> what it is an alias of; others in `hosts` have an address; else NXDOMAIN.
    fails: each question is answered with SERVFAIL.
    `asked` gets the name of each question; an answer waits until `answers` is set.
    """

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.hosts: set[str] = set()
        self.ttl = 300
        self.fails = False
        self.asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.answers = threading.Event()
        self.answers.set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def questions(self) -> list[str]:
        """The names asked for since the last call."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.asked.get_nowait())
        return found

    def close(self) -> None:
        self.answers.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())  # wakes the thread, and ends it
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(4096)
            if not data:
                return
            threading.Thread(target=self._reply, args=(data, sender), daemon=True).start()

    def _reply(self, data: bytes, sender: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        assert query.question[0].rdtype == dns.rdatatype.CNAME
        self.asked.put(name)
        self.answers.wait()
        with contextlib.suppress(OSError):  # the test is over
            self._socket.sendto(self._answer(query, name), sender)

    def _answer(self, query: dns.message.Message, name: str) -> bytes:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        target = self.aliases.get(name)
        if self.fails:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif target is not None:
            answer.answer.append(
                dns.rrset.from_text(query.question[0].name, self.ttl, "IN", "CNAME", f"{target}.")
            )
        elif name not in self.hosts:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()


@contextlib.contextmanager
def serving() -> Iterator[NameServer]:
    """A server, closed in the end."""
    server = NameServer()
    try:
        yield server
    finally:
        server.close()
