"""The driver `ldap`: users and groups of a domain from an LDAP server.

Options and their defaults are those of Keystone's `[ldap]`, as far as they are for reading and have
a meaning here. Users are proven by a bind with their DN and password. Every use of the directory
has connections of its own: it is read seldom, and a pool would have to be kept alive.

In OpenStack: keystone/identity/backends/ldap/.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import ssl
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nubelet.identity.directories import (
    DirectoryGroup,
    DirectoryUnavailable,
    DirectoryUser,
    Driver,
)

if TYPE_CHECKING:
    from ldap3 import Connection

OPTIONS: Mapping[str, Any] = {
    "url": "ldap://localhost",  # several with commas: the first that answers
    "user": None,  # the DN that reads; None: anonymously
    "password": None,
    "suffix": "cn=example,cn=com",
    "query_scope": "one",  # one, sub
    "page_size": 0,  # 0: all at once
    "connection_timeout": 5,  # seconds; also for answers
    "chase_referrals": False,
    "use_tls": False,  # STARTTLS; ldaps:// needs none
    "tls_cacertfile": None,
    "tls_cacertdir": None,
    "tls_req_cert": "demand",  # demand, allow, never
    "user_tree_dn": None,  # None: ou=Users below the suffix
    "user_filter": None,
    "user_objectclass": "inetOrgPerson",
    "user_id_attribute": "cn",
    "user_name_attribute": "sn",
    "user_mail_attribute": "mail",
    "user_description_attribute": "description",
    "user_enabled_attribute": "enabled",
    "user_enabled_invert": False,
    "user_enabled_mask": 0,
    "user_enabled_default": "True",
    "user_additional_attribute_mapping": [],  # ldap_attribute:user_attribute
    "group_tree_dn": None,  # None: ou=UserGroups below the suffix
    "group_filter": None,
    "group_objectclass": "groupOfNames",
    "group_id_attribute": "cn",
    "group_name_attribute": "ou",
    "group_member_attribute": "member",
    "group_members_are_ids": False,
    "group_desc_attribute": "description",
}
_CERTIFICATES = {"demand": ssl.CERT_REQUIRED, "allow": ssl.CERT_OPTIONAL, "never": ssl.CERT_NONE}


class LdapDirectory:
    """One LDAP server (or several copies of it) as its domain's configuration describes it."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options = _checked(options)
        self._scope = {"one": "LEVEL", "sub": "SUBTREE"}.get(options["query_scope"])
        if self._scope is None:
            raise ValueError("query_scope must be one or sub")
        if options["tls_req_cert"] not in _CERTIFICATES:
            raise ValueError("tls_req_cert must be demand, allow or never")
        self._user_tree = options["user_tree_dn"] or f"ou=Users,{options['suffix']}"
        self._group_tree = options["group_tree_dn"] or f"ou=UserGroups,{options['suffix']}"
        self._extra = dict(
            pair.split(":", 1) for pair in options["user_additional_attribute_mapping"]
        )
        self._reader: Connection | None = None

    def users(self) -> Iterator[DirectoryUser]:
        """All users that the filter lets through."""
        for entry in self._search_users(""):
            user = self._read_user(entry)
            if user is not None:
                yield user

    def groups(self) -> Iterator[DirectoryGroup]:
        """All groups that the filter lets through."""
        yield from self._search_groups("")

    def find_user(self, name: str) -> DirectoryUser | None:
        """The user of that name."""
        condition = _equals(self._options["user_name_attribute"], name)
        found = [self._read_user(entry) for entry in self._search_users(condition)]
        return next((user for user in found if user is not None and user.name == name), None)

    def groups_of(self, local_id: str) -> Iterator[DirectoryGroup]:
        """The groups that a user belongs to."""
        entry = self._find_entry(local_id)
        if entry is None:
            return
        member = local_id if self._options["group_members_are_ids"] else entry["dn"]
        yield from self._search_groups(_equals(self._options["group_member_attribute"], member))

    def authenticate(self, local_id: str | None, password: str) -> bool:
        """Can the user bind with that password? An empty one never proves anything: servers take
        a bind without a password as one of nobody."""
        from ldap3.core.exceptions import LDAPException

        entry = self._find_entry(local_id) if local_id is not None else None
        if not password:
            return False
        nobody = f"{self._options['user_id_attribute']}={secrets.token_hex(8)},{self._user_tree}"
        connection = self._connect(entry["dn"] if entry else nobody, password)
        try:
            return bool(connection.bind()) and entry is not None
        except LDAPException as error:
            raise self._unavailable(error) from None
        finally:
            _close(connection)

    def close(self) -> None:
        """Let go of the connection that reads."""
        if self._reader is not None:
            _close(self._reader)
            self._reader = None

    # --- Connections ------------------------------------------------------------------------------

    def _connect(self, dn: str | None, password: str | None) -> Connection:
        """A connection that is not bound yet."""
        from ldap3.core.exceptions import LDAPException

        failure: Exception | None = None
        for url in str(self._options["url"]).split(","):
            try:
                return self._open(url.strip(), dn, password)
            except (LDAPException, OSError) as error:
                failure = error
        assert failure is not None
        raise self._unavailable(failure)

    def _open(self, url: str, dn: str | None, password: str | None) -> Connection:
        import ldap3

        options = self._options
        seconds = options["connection_timeout"] if options["connection_timeout"] > 0 else None
        tls = ldap3.Tls(
            validate=_CERTIFICATES[options["tls_req_cert"]],
            ca_certs_file=options["tls_cacertfile"],
            ca_certs_path=options["tls_cacertdir"],
        )
        connection = ldap3.Connection(
            ldap3.Server(url, tls=tls, connect_timeout=seconds, get_info=ldap3.NONE),
            user=dn,
            password=password,
            receive_timeout=seconds,
            read_only=True,
            auto_referrals=bool(options["chase_referrals"]),
        )
        connection.open()
        if options["use_tls"]:
            connection.start_tls()
        return connection

    def _read_connection(self) -> Connection:
        from ldap3.core.exceptions import LDAPException

        if self._reader is None:
            connection = self._connect(self._options["user"], self._options["password"])
            try:
                bound = connection.bind()
            except LDAPException as error:
                raise self._unavailable(error) from None
            if not bound:
                who = self._options["user"] or "nobody"
                raise DirectoryUnavailable(
                    f"The directory {self._where()} does not let in {who}: "
                    f"{connection.result['description']}."
                )
            self._reader = connection
        return self._reader

    def _where(self) -> str:
        return str(self._options["url"])

    def _unavailable(self, error: Exception) -> DirectoryUnavailable:
        return DirectoryUnavailable(f"The directory {self._where()} does not answer: {error}")

    # --- Entries ----------------------------------------------------------------------------------

    def _search(self, tree: str, condition: str, attributes: list[str]) -> Iterator[dict[str, Any]]:
        from ldap3.core.exceptions import LDAPException

        connection = self._read_connection()
        size = int(self._options["page_size"]) or None
        try:
            for entry in connection.extend.standard.paged_search(
                tree, condition, self._scope, attributes=attributes, paged_size=size, generator=True
            ):
                if entry["type"] == "searchResEntry":
                    yield entry
        except LDAPException as error:
            raise self._unavailable(error) from None
        # 4, sizeLimitExceeded, and 32, noSuchObject, mean that something would be missing.
        if connection.result["result"] != 0:
            raise DirectoryUnavailable(
                f"The directory {self._where()} refuses a search below {tree}: "
                f"{connection.result['description']}."
            )

    def _search_users(self, condition: str) -> Iterator[dict[str, Any]]:
        o = self._options
        attributes = [
            o[name]
            for name in (
                "user_id_attribute",
                "user_name_attribute",
                "user_mail_attribute",
                "user_description_attribute",
                "user_enabled_attribute",
            )
        ]
        attributes += self._extra
        wanted = (
            f"(&(objectClass={o['user_objectclass']}){_bracketed(o['user_filter'])}{condition})"
        )
        return self._search(self._user_tree, wanted, [name for name in attributes if name])

    def _search_groups(self, condition: str) -> Iterator[DirectoryGroup]:
        o = self._options
        attributes = [
            o[name]
            for name in (
                "group_id_attribute",
                "group_name_attribute",
                "group_member_attribute",
                "group_desc_attribute",
            )
        ]
        wanted = (
            f"(&(objectClass={o['group_objectclass']}){_bracketed(o['group_filter'])}{condition})"
        )
        for entry in self._search(self._group_tree, wanted, [name for name in attributes if name]):
            local_id = _first(entry, o["group_id_attribute"])
            name = _first(entry, o["group_name_attribute"])
            if not local_id or not name:
                continue
            members = _all(entry, o["group_member_attribute"])
            yield DirectoryGroup(
                local_id,
                name,
                _first(entry, o["group_desc_attribute"]) or "",
                frozenset(members if o["group_members_are_ids"] else map(self._id_of_dn, members)),
            )

    def _find_entry(self, local_id: str) -> dict[str, Any] | None:
        condition = _equals(self._options["user_id_attribute"], local_id)
        return next(iter(self._search_users(condition)), None)

    def _read_user(self, entry: dict[str, Any]) -> DirectoryUser | None:
        o = self._options
        local_id = _first(entry, o["user_id_attribute"])
        name = _first(entry, o["user_name_attribute"])
        if not local_id or not name:
            return None
        extra = {
            "email": _first(entry, o["user_mail_attribute"]),
            "description": _first(entry, o["user_description_attribute"]),
        }
        extra |= {to: _first(entry, attribute) for attribute, to in self._extra.items()}
        given = {key: value for key, value in extra.items() if value is not None}
        return DirectoryUser(local_id, name, self._is_enabled(entry), given)

    def _is_enabled(self, entry: dict[str, Any]) -> bool:
        """By a truth value, or by bits that must not be set (Active Directory's
        userAccountControl)."""
        o = self._options
        text = _first(entry, o["user_enabled_attribute"])
        if text is None:
            text = str(o["user_enabled_default"])
        mask = int(o["user_enabled_mask"])
        if mask:
            return (int(text) if text.lstrip("-").isdigit() else 0) & mask != mask
        enabled = text.strip().lower() in ("true", "1", "yes", "on")
        return not enabled if o["user_enabled_invert"] else enabled

    def _id_of_dn(self, dn: str) -> str:
        """The id in the DN of a member. It is the first part where that is named by the id
        attribute; where it is not, the entry must be asked."""
        from ldap3.utils.dn import parse_dn

        attribute = str(self._options["user_id_attribute"])
        parts = parse_dn(dn, escape=False, strip=True)
        if parts and parts[0][0].lower() == attribute.lower():
            return str(parts[0][1])
        connection = self._read_connection()
        connection.search(dn, "(objectClass=*)", "BASE", attributes=[attribute])
        entries = [each for each in connection.response or [] if each["type"] == "searchResEntry"]
        return (_first(entries[0], attribute) if entries else None) or dn


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the types of their defaults; raises ValueError naming one that has another.
    Numbers and truth values may be text, as in a file."""
    checked: dict[str, Any] = {}
    for name, value in given.items():
        default = OPTIONS.get(name)
        if isinstance(default, bool):
            text = str(value).lower()
            if text not in ("true", "false", "1", "0"):
                raise ValueError(f"{name} must be true or false")
            checked[name] = text in ("true", "1")
        elif isinstance(default, int):
            if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,9}", str(value)):
                raise ValueError(f"{name} must be a number")
            checked[name] = int(value)
        elif isinstance(default, list):
            if not isinstance(value, list) or not all(":" in str(each) for each in value):
                raise ValueError(f"{name} must be a list of ldap_attribute:attribute")
            checked[name] = [str(each) for each in value]
        elif value is None or isinstance(value, (str, int, bool)):
            checked[name] = None if value is None and default is None else str(value or "")
        else:
            raise ValueError(f"{name} must be text")
    return checked


def _close(connection: Connection) -> None:
    from ldap3.core.exceptions import LDAPException

    with contextlib.suppress(LDAPException, OSError):  # it may be gone already
        connection.unbind()


def _equals(attribute: str, value: str) -> str:
    from ldap3.utils.conv import escape_filter_chars

    return f"({attribute}={escape_filter_chars(value)})"


def _bracketed(condition: str | None) -> str:
    if not condition:
        return ""
    return condition if condition.startswith("(") else f"({condition})"


def _all(entry: dict[str, Any], attribute: str | None) -> list[str]:
    """The values of an attribute as text; attributes' names do not care for case."""
    if not attribute:
        return []
    for name, values in entry["raw_attributes"].items():
        if name.lower() == attribute.lower():
            return [
                each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each)
                for each in values
            ]
    return []


def _first(entry: dict[str, Any], attribute: str | None) -> str | None:
    values = _all(entry, attribute)
    return values[0] if values else None


DRIVER = Driver("ldap", OPTIONS, frozenset(("password",)), LdapDirectory)
