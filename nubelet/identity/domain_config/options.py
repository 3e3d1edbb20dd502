"""The options of domains: which there are, and storing them.

A secret option (`ldap.password`) is sealed in the database and never shown; another option may hold
it all the same, by `%(password)s`. What is not set has its default.

In OpenStack: keystone/resource/core.py DomainConfigManager.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
import sqlalchemy as sa

from nubelet.identity import changes, directories
from nubelet.identity.domain_config.model import domain_option
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden, NotFound
from nubelet.kernel.http.app import Authenticator

if TYPE_CHECKING:
    from nubelet.identity.authenticator import TokenAuthenticator

Config = Mapping[str, Mapping[str, Any]]
IDENTITY: Mapping[str, Any] = {"driver": directories.SQL, "list_limit": None}
# Read by everybody who must choose a password; set for the whole cloud, in the settings.
SECURITY_COMPLIANCE = "security_compliance"
_READABLE = ("password_regex", "password_regex_description")


def defaults() -> dict[str, Mapping[str, Any]]:
    """group -> option -> default, of everything that can be set and shown."""
    found: dict[str, Mapping[str, Any]] = {"identity": IDENTITY}
    for name in directories.names():
        driver = directories.find(name)
        assert driver is not None
        found[name] = {
            option: value
            for option, value in driver.options.items()
            if option not in driver.secrets
        }
    return found


def require_known(group: str | None, option: str | None = None) -> None:
    """Raise Forbidden for a group or an option that there is not."""
    if group is None:
        return
    known = IDENTITY if group == "identity" else _options_of_driver(group)
    if known is None:
        raise _invalid(f"Group {group} is not supported for domain specific configurations.")
    if option is not None and option not in known:
        raise _invalid(
            f"Option {option} in group {group} is not supported for domain specific configurations."
        )


def require_config(config: Any) -> None:
    """Raise Forbidden for a configuration with nothing in it, or with what there is not."""
    if not config:
        raise _invalid("No options specified.")
    for group, values in config.items():
        require_known(group)
        if not values or not isinstance(values, dict):
            raise _invalid(
                f"The value of group {group} specified in the config should be a dictionary of "
                "options."
            )
        for option in values:
            require_known(group, option)


def is_secret(group: str, option: str) -> bool:
    """Is it an option that is never shown?"""
    driver = directories.find(group)
    return driver is not None and option in driver.secrets


def show_default(group: str | None, option: str | None) -> dict[str, Any]:
    """The defaults of all options, those of a group, or one."""
    require_known(group, option)
    known = defaults()
    if group is None:
        return {name: dict(values) for name, values in known.items()}
    if option is None:
        return {group: dict(known[group])}
    if is_secret(group, option):
        raise _invalid(
            f"Reading the default for option {option} in group {group} is not supported."
        )
    return {option: known[group][option]}


def show_security_compliance(
    cloud: Cloud, domain_id: str, default_domain_id: str, option: str | None
) -> dict[str, Any]:
    """What a new password must be like. It is the same in the whole cloud, and told, as upstream
    does, in the default domain only."""
    if domain_id != default_domain_id:
        raise _invalid(
            "Reading security compliance information for any domain other than the default domain "
            "is not allowed or supported."
        )
    if option is not None and option not in _READABLE:
        raise _invalid(
            "Reading security compliance values other than password_regex and "
            "password_regex_description is not allowed."
        )
    rules = cloud.settings.security_compliance
    shown = {name: getattr(rules, name) or None for name in _READABLE}
    return {SECURITY_COMPLIANCE: shown} if option is None else {option: shown[option]}


# --- Stored ---------------------------------------------------------------------------------------


def stored(
    tx: Tx, domain_id: str, group: str | None = None, option: str | None = None
) -> list[Any]:
    """The rows of what is set: all of it, of a group, or one option."""
    c = domain_option.c
    conditions = [c.domain_id == domain_id]
    if group is not None:
        conditions.append(c.group == group)
    if option is not None:
        conditions.append(c.option == option)
    return list(tx.all(sa.select(domain_option).where(*conditions).order_by(c.group, c.option)))


def shown(tx: Tx, domain_id: str, group: str | None = None, option: str | None = None) -> Any:
    """What is set, without secrets; raises NotFound where that is nothing."""
    require_known(group, option)
    rows = [row for row in stored(tx, domain_id, group, option) if not row.secret]
    if not rows:
        raise not_set(domain_id, group, option)
    return {option: rows[0].value} if option is not None else _as_config(rows)


def replace(ctx: Context, tx: Tx, domain_id: str, config: Config) -> bool:
    """Set a whole configuration; says whether there was none before."""
    is_new = tx.delete(domain_option, domain_option.c.domain_id == domain_id) == 0
    merge(ctx, tx, domain_id, config)
    return is_new


def merge(ctx: Context, tx: Tx, domain_id: str, config: Config) -> None:
    """Set these options; the others stay."""
    c = domain_option.c
    for group, values in config.items():
        for option, value in values.items():
            secret = is_secret(group, option)
            kept = _seal(ctx.cloud, value) if secret else value
            tx.delete(domain_option, c.domain_id == domain_id, c.group == group, c.option == option)
            tx.insert(
                domain_option,
                domain_id=domain_id,
                group=group,
                option=option,
                value=kept,
                secret=secret,
            )
    changes.record(ctx, tx, "domain.updated", domain_id)


def delete(ctx: Context, tx: Tx, domain_id: str, group: str | None, option: str | None) -> None:
    """Take back what is set; raises NotFound where a group or an option is not."""
    require_known(group, option)
    rows = stored(tx, domain_id, group, option)
    if not rows and group is not None:
        raise not_set(domain_id, group, option)
    for row in rows:
        tx.delete(
            domain_option,
            domain_option.c.domain_id == domain_id,
            domain_option.c.group == row.group,
            domain_option.c.option == row.option,
        )
    changes.record(ctx, tx, "domain.updated", domain_id)


def forget(tx: Tx, domain_id: str) -> None:
    """Delete the configuration of a domain that is being deleted."""
    tx.delete(domain_option, domain_option.c.domain_id == domain_id)


# --- For those who use it -------------------------------------------------------------------------


def drivers(tx: Tx) -> dict[str, str]:
    """The domains whose users are not in the database alone, with their driver."""
    c = domain_option.c
    rows = tx.all(
        sa.select(c.domain_id, c.value).where(c.group == "identity", c.option == "driver")
    )
    return {row.domain_id: str(row.value) for row in rows if row.value != directories.SQL}


def list_limit(tx: Tx, domain_id: str) -> int | None:
    """How many users or groups of a domain a list shows at once; None for what all show."""
    rows = stored(tx, domain_id, "identity", "list_limit")
    value = rows[0].value if rows else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def effective(cloud: Cloud, tx: Tx, domain_id: str, driver: directories.Driver) -> dict[str, Any]:
    """All options of a domain's driver, defaults and secrets filled in."""
    values = dict(driver.options)
    secrets: dict[str, str] = {}
    for row in stored(tx, domain_id, driver.name):
        if row.secret:
            values[row.option] = _unseal(cloud, row.value)
            secrets[f"%({row.option})s"] = str(values[row.option])
        else:
            values[row.option] = row.value
    return {
        option: value if option in driver.secrets else _fill(value, secrets)
        for option, value in values.items()
    }


def not_set(domain_id: str, group: str | None, option: str | None) -> NotFound:
    """The refusal for what is not set."""
    what = "any options" if group is None else f"group {group}"
    if option is not None:
        what = f"option {option} in group {group}"
    return NotFound(
        message=f"Could not find {what} in domain configuration for domain {domain_id}."
    )


def invalid_update(group: str, option: str | None) -> Forbidden:
    """The refusal for a change that holds something else than its URL names."""
    if option is None:
        return _invalid(f"To update group {group}, that and only that group must be in the config.")
    return _invalid(
        f"To update option {option} in group {group}, that and only that option must be in the "
        "config."
    )


def _fill(value: Any, secrets: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for placeholder, secret in secrets.items():
            value = value.replace(placeholder, secret)
    return value


def _options_of_driver(name: str) -> Mapping[str, Any] | None:
    driver = directories.find(name)
    return None if driver is None else driver.options


def _as_config(rows: list[Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row.group, {})[row.option] = row.value
    return found


def _invalid(reason: str) -> Forbidden:
    return Forbidden(f"Invalid domain specific configuration: {reason}")


def _seal(cloud: Cloud, value: Any) -> str:
    return _keeper(cloud).seal_of_domains.close(msgspec.json.encode(value).decode())


def _unseal(cloud: Cloud, sealed: str) -> Any:
    """A secret; None where its key is lost (the doctor tells)."""
    text = _keeper(cloud).seal_of_domains.open(sealed)
    return None if text is None else msgspec.json.decode(text)


def _keeper(cloud: Cloud) -> TokenAuthenticator:
    return cast("TokenAuthenticator", cloud.get(Authenticator))  # type: ignore[type-abstract]
