"""`nubelet openrc`: credentials for the OpenStack clients, as shell variables or clouds.yaml."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from nubelet.cli.instance import Instance, state_dir_option
from nubelet.private_files import write_private


@click.command()
@state_dir_option
@click.option("--clouds-yaml", is_flag=True, help="Print a clouds.yaml instead of shell variables.")
@click.option("--user", default="admin", show_default=True, help="admin, or demo after the demo.")
def openrc_command(state_dir: Path, clouds_yaml: bool, user: str) -> None:
    """Print credentials for the `openstack` command: eval "$(nubelet openrc)"."""
    instance = Instance(state_dir)
    instance.require_exists()
    values = credentials(instance, user)
    click.echo(as_clouds_yaml({user: values}) if clouds_yaml else as_openrc(values), nl=False)


def credentials(instance: Instance, user: str = "admin") -> dict[str, str]:
    """The OS_ variables of a user that this machine knows the password of."""
    from nubelet.settings import load

    if user == "admin":
        password, project = instance.admin_password(), "admin"
    else:
        secret = instance.state_dir / "demo" / f"{user}-password"
        if not secret.exists():
            raise click.ClickException(
                f"no password of a user {user!r} is kept here: `nubelet demo` makes the user demo"
            )
        password, project = secret.read_text().strip(), user
    settings = load(instance.settings_file)
    return {
        "OS_AUTH_URL": f"{settings.http.url}/identity/v3",
        "OS_USERNAME": user,
        "OS_PASSWORD": password,
        "OS_PROJECT_NAME": project,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": settings.identity.region,
        "OS_IDENTITY_API_VERSION": "3",
        "OS_INTERFACE": "public",
    }


def as_openrc(values: dict[str, str]) -> str:
    """`export` lines for a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def as_clouds_yaml(users: dict[str, dict[str, str]]) -> str:
    """A clouds.yaml with one cloud per user: `nubelet` for admin, `nubelet-<user>` for others."""
    import yaml

    clouds = {}
    for user, values in users.items():
        clouds["nubelet" if user == "admin" else f"nubelet-{user}"] = {
            "auth": {
                "auth_url": values["OS_AUTH_URL"],
                "username": values["OS_USERNAME"],
                "password": values["OS_PASSWORD"],
                "project_name": values["OS_PROJECT_NAME"],
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
            "region_name": values["OS_REGION_NAME"],
            "identity_api_version": 3,
        }
    return yaml.safe_dump({"clouds": clouds}, sort_keys=False)


def write_files(instance: Instance, users: tuple[str, ...]) -> Path:
    """Write clouds.yaml and an openrc per user into the state folder; returns clouds.yaml."""
    known = {user: credentials(instance, user) for user in users}
    for user, values in known.items():
        write_private(instance.state_dir / f"openrc-{user}", as_openrc(values))
    path = instance.state_dir / "clouds.yaml"
    write_private(path, as_clouds_yaml(known))
    return path
