"""The nft rules of one namespace: loaded as a whole once, then changed in small transactions.

What the process loaded last is kept as a mirror, so a change costs only its difference. When nft
refuses a change (somebody flushed the rules, or the process is new) the whole ruleset is loaded
again in one transaction: packets never meet an empty one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from nubelet.node import commands
from nubelet.node.errors import HostError
from nubelet.node.switching.linux import ruleset
from nubelet.node.switching.linux.ruleset import Changes, Item, Key

log = logging.getLogger(__name__)

# A transaction is usually a few dozen lines; the trail shows nft's input only by its size.
NFT_TIMEOUT_SECONDS = 60


class Tables:
    """The tables of one namespace. `render` gives the whole ruleset as it should be now;
    `reloaded` is called when that was loaded, and so the difference to before is not known.
    """

    def __init__(
        self,
        namespace: str | None,
        render: Callable[[], dict[Key, Item]],
        reloaded: Callable[[], None] = lambda: None,
    ) -> None:
        self.namespace = namespace
        self._render = render
        self._reloaded = reloaded
        self._mirror: dict[Key, Item] | None = None

    def keys(self) -> set[Key]:
        """Names of what is loaded; the first question loads the whole ruleset."""
        if self._mirror is None:
            self.reload()
        return set(self._mirror or ())

    def change(self, changes: Changes) -> None:
        """Make the changes in one transaction."""
        if self._mirror is None:
            self.reload()
            return
        text = ruleset.transition(self._mirror, changes)
        after = ruleset.apply(self._mirror, changes)
        try:
            _load(self.namespace, text)
        except HostError as fault:
            log.info("nft in %s: %s; loading all rules anew", self.namespace, fault.message)
            self.reload()
            return
        self._mirror = after

    def forget(self) -> None:
        """The namespace is a new one: nothing is loaded."""
        self._mirror = None

    def reload(self) -> None:
        """Load the whole ruleset anew, in one transaction."""
        self._mirror = None
        wanted = self._render()
        _load(self.namespace, ruleset.replacement(wanted))
        self._mirror = wanted
        self._reloaded()


def _load(namespace: str | None, text: str) -> None:
    commands.run(
        ["nft", "-f", "-"],
        stdin=text.encode(),
        namespace=namespace,
        timeout_seconds=NFT_TIMEOUT_SECONDS,
    )
