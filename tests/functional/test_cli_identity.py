"""Sessions with the unmodified `openstack` command: every command that the client has for identity
succeeds and shows what was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.command import CommandCloud
from tests.functional.openstack_cli import OpenStackCli, commands_of, forgotten, succeeded

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandCloud]:
    made = CommandCloud(tmp_path_factory.mktemp("cli"), "--fake")
    with pytest.MonkeyPatch.context() as patch:
        # Each command logs in anew; nobody attacks this password.
        patch.setenv("NUBELET_IDENTITY_PASSWORD_HASH_COST", "1")
        made.up()
    yield made
    made.purge()


@pytest.fixture(scope="module")
def cli(cloud: CommandCloud) -> OpenStackCli:
    return OpenStackCli(cloud.url, cloud.password)


def test_domains_projects_users_and_groups(cli: OpenStackCli) -> None:
    cli("domain create d1 --description x")
    cli("domain set d1 --description y")
    assert cli.ask("domain show d1")["description"] == "y"
    assert "d1" in cli("domain list")
    cli("project create p1 --domain default --description x --tag a")
    cli("project set p1 --description z --property k=v --tag b")
    assert sorted(cli.ask("project show p1")["tags"]) == ["a", "b"]
    assert "p1" in cli("project list --long")
    cli("user create u1 --project p1 --password secret --email a@example.org")
    cli("user set u1 --description hm --email b@example.org")
    assert cli.ask("user show u1")["email"] == "b@example.org"
    assert "u1" in cli("user list --long")
    cli("group create g1")
    cli("group set g1 --description z")
    cli("group add user g1 u1")
    assert "u1 in group g1" in cli("group contains user g1 u1")
    assert [group["Name"] for group in cli.ask("group list --user u1")] == ["g1"]
    assert cli.ask("group show g1")["description"] == "z"
    cli("group remove user g1 u1")
    cli("user set u1 --disable")
    for line in (
        "user delete u1",
        "group delete g1",
        "project delete p1",
        "domain set d1 --disable",
        "domain delete d1",
    ):
        cli(line)
    assert "No User" in cli.refused("user show u1")


def test_roles_and_assignments(cli: OpenStackCli) -> None:
    cli("project create team")
    cli("user create ada --password secret")
    cli("group create crew")
    cli("role create r1")
    cli("role set r1 --name r2")
    assert cli.ask("role show r2")["name"] == "r2"
    assert "r2" in cli("role list")
    grants = (
        "--project team --user ada",
        "--project team --group crew",
        "--domain default --user ada",
        "--domain default --group crew",
        "--system all --user ada",
    )
    for grant in grants:
        cli(f"role add {grant} r2")
    assert len(cli.ask("role assignment list --role r2 --names")) == len(grants)
    assert cli.ask("role assignment list --user ada --effective")
    assert cli.ask("role assignment list --system all --names")
    assert "team@Default" in cli("role assignment list --project team --names")
    for grant in grants:
        cli(f"role remove {grant} r2")
    assert not cli.ask("role assignment list --role r2")
    cli("role create r3")
    cli("implied role create r2 --implied-role r3")
    assert "r3" in cli("implied role list")
    cli("implied role delete r2 --implied-role r3")
    for line in (
        "role delete r3 r2",
        "user delete ada",
        "group delete crew",
        "project delete team",
    ):
        cli(line)


def test_a_member_works_in_a_project(cloud: CommandCloud, cli: OpenStackCli) -> None:
    cli("project create lab")
    cli("user create eva --password first")
    cli("role add --project lab --user eva member")
    eva = OpenStackCli(cloud.url, "first", user="eva", project="lab")
    assert eva.ask("token issue")["user_id"] == cli.ask("user show eva")["id"]
    eva("network create hers")
    assert [row["Name"] for row in eva.ask("network list")] == ["hers"]
    assert "Forbidden" in eva.refused("user list")
    eva("user password set --original-password first --password second")
    assert "401" in eva.refused("network list")
    eva = OpenStackCli(cloud.url, "second", user="eva", project="lab")
    eva("network delete hers")
    cli("user delete eva")
    cli("project delete lab")


def test_tokens_catalog_services_and_endpoints(cli: OpenStackCli) -> None:
    token = cli.ask("token issue")["id"]
    cli(f"token revoke {token}")
    types = {service["Type"] for service in cli.ask("catalog list")}
    assert {"identity", "compute", "image", "network", "placement"} <= types
    assert "/compute/v2.1" in cli("catalog show compute")
    cli("region create there --description x")
    cli("region set there --description y")
    assert cli.ask("region show there")["description"] == "y"
    assert "there" in cli("region list")
    cli("service create --name s1 --description x testing")
    cli("service set s1 --description y")
    assert cli.ask("service show s1")["description"] == "y"
    assert "s1" in cli("service list --long")
    made = cli.ask("endpoint create s1 public http://x.example.org --region there")["id"]
    cli(f"endpoint set {made} --url http://y.example.org")
    assert cli.ask(f"endpoint show {made}")["url"] == "http://y.example.org"
    assert made in cli("endpoint list --service s1")
    for line in (f"endpoint delete {made}", "service delete s1", "region delete there"):
        cli(line)
    assert "Compute" in cli("versions show") or "compute" in cli("versions show")


def test_application_credentials_and_access_rules(cloud: CommandCloud, cli: OpenStackCli) -> None:
    rules = '[{"path": "/v2.1/servers/detail", "method": "GET", "service": "compute"}]'
    made = cli.ask(
        f"application credential create ac1 --secret s3cret --role reader --description x "
        f"--expiration 2099-01-01T00:00:00 --access-rules '{rules}'"
    )
    assert made["Project ID"]
    assert [row["Name"] for row in cli.ask("application credential list")] == ["ac1"]
    assert cli.ask("application credential show ac1")["Description"] == "x"
    [rule] = cli.ask("access rule list")
    assert cli.ask(f"access rule show {rule['ID']}")["Path"] == "/v2.1/servers/detail"
    with_it = OpenStackCli(cloud.url, "")
    with_it.credentials = [
        *("--os-auth-type", "v3applicationcredential"),
        *("--os-auth-url", f"{cloud.url}/identity/v3"),
        *("--os-application-credential-id", made["ID"]),
        *("--os-application-credential-secret", "s3cret"),
        *("--os-region-name", "RegionOne"),
    ]
    assert with_it.ask("server list") == []
    assert "40" in with_it.refused("network list")
    cli("application credential delete ac1")
    cli(f"access rule delete {rule['ID']}")


def test_credentials_of_users(cli: OpenStackCli) -> None:
    cli("user create owner --password secret")
    made = cli.ask("credential create owner blob --type cert")["id"]
    cli(f"credential set {made} --user owner --type cert --data other")
    assert cli.ask(f"credential show {made}")["blob"] == "other"
    assert made in cli("credential list --user owner --type cert")
    cli(f"credential delete {made}")
    cli("user delete owner")


def test_ec2_credentials(cli: OpenStackCli) -> None:
    access = cli.ask("ec2 credentials create")["access"]
    assert access in cli("ec2 credentials list")
    assert cli.ask(f"ec2 credentials show {access}")["access"] == access
    cli(f"ec2 credentials delete {access}")


def test_trusts(cloud: CommandCloud, cli: OpenStackCli) -> None:
    cli("user create helper --password secret")
    trustor = cli.ask("token issue")["user_id"]
    made = cli.ask(f"trust create {trustor} helper --project admin --role reader --impersonate")[
        "id"
    ]
    assert made in cli("trust list")
    assert cli.ask(f"trust show {made}")["is_impersonation"] is True
    helper = OpenStackCli(cloud.url, "secret", user="helper")
    at = helper.credentials.index("--os-project-name")
    helper.credentials[at : at + 2] = ["--os-trust-id", made]
    at = helper.credentials.index("--os-project-domain-id")
    del helper.credentials[at : at + 2]
    assert helper.ask("token issue")["user_id"] == trustor
    cli(f"trust delete {made}")
    cli("user delete helper")


def test_limits(cli: OpenStackCli) -> None:
    cli("service create --name limited limited")
    cli("project create tight")
    registered = cli.ask(
        "registered limit create widgets --service limited --default-limit 10 --description x"
    )["id"]
    cli(f"registered limit set {registered} --default-limit 20")
    assert cli.ask(f"registered limit show {registered}")["default_limit"] == 20
    assert registered in cli("registered limit list --service limited")
    made = cli.ask(
        "limit create widgets --project tight --service limited --resource-limit 5 --description y"
    )["id"]
    cli(f"limit set {made} --resource-limit 6")
    assert cli.ask(f"limit show {made}")["resource_limit"] == 6
    assert made in cli("limit list --project tight")
    cli(f"limit delete {made}")
    cli(f"registered limit delete {registered}")
    cli("project delete tight")
    cli("service delete limited")


def test_endpoints_are_filtered_by_project(cli: OpenStackCli, tmp_path: Path) -> None:
    cli("project create chosen")
    cli("service create --name hidden hidden")
    endpoint = cli.ask("endpoint create hidden public http://hidden.example.org")["id"]
    cli(f"endpoint add project {endpoint} chosen")
    assert "hidden" in cli("endpoint list --project chosen")
    cli(f"endpoint remove project {endpoint} chosen")
    filters = tmp_path / "filters.json"
    filters.write_text('{"interface": "public"}')
    made = cli.ask(f"endpoint group create --description x eg1 {filters}")["id"]
    cli(f"endpoint group set {made} --name eg2 --description y --filters {filters}")
    assert cli.ask(f"endpoint group show {made}")["description"] == "y"
    assert "eg2" in cli("endpoint group list")
    cli(f"endpoint group add project {made} chosen")
    assert cli.ask("endpoint group list --project chosen")
    cli(f"endpoint group remove project {made} chosen")
    for line in (
        f"endpoint group delete {made}",
        f"endpoint delete {endpoint}",
        "service delete hidden",
        "project delete chosen",
    ):
        cli(line)


def test_policies(cli: OpenStackCli, tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('{"x": "role:admin"}')
    made = cli.ask(f"policy create {rules} --type application/json")["id"]
    cli(f"policy set {made} --type text/plain --rules {rules}")
    assert cli.ask(f"policy show {made}")["type"] == "text/plain"
    assert made in cli("policy list --long")
    cli(f"policy delete {made}")


def test_federation(cli: OpenStackCli, tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text(
        '[{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "REMOTE_USER"}]}]'
    )
    cli("identity provider create idp1 --remote-id http://idp --description x --domain default")
    cli("identity provider set idp1 --description y --disable")
    assert cli.ask("identity provider show idp1")["description"] == "y"
    assert "idp1" in cli("identity provider list")
    cli(f"mapping create m1 --rules {rules}")
    cli(f"mapping set m1 --rules {rules}")
    assert cli.ask("mapping show m1")["id"] == "m1"
    assert "m1" in cli("mapping list")
    cli("federation protocol create saml2 --identity-provider idp1 --mapping m1")
    cli(f"mapping create m2 --rules {rules}")
    line = "federation protocol set saml2 --identity-provider idp1 --mapping m2"
    _, said, complained = cli.run(line)  # the client takes the answer for an exit code
    assert not complained, said
    succeeded.append(line)
    assert cli.ask("federation protocol show saml2 --identity-provider idp1")["mapping"] == "m2"
    assert "saml2" in cli("federation protocol list --identity-provider idp1")
    cli("service provider create sp1 --auth-url http://sp/a --service-provider-url http://sp/s")
    cli("service provider set sp1 --description y --disable")
    assert cli.ask("service provider show sp1")["description"] == "y"
    assert "sp1" in cli("service provider list")
    assert "Default" in cli("federation domain list")
    assert "admin" in cli("federation project list")
    for line in (
        "federation protocol delete saml2 --identity-provider idp1",
        "mapping delete m1 m2",
        "identity provider delete idp1",
        "service provider delete sp1",
    ):
        cli(line)


def test_consumers_and_request_tokens(cli: OpenStackCli) -> None:
    made = cli.ask("consumer create --description x")
    key, secret = made["id"], made["secret"]
    cli(f"consumer set {key} --description y")
    assert cli.ask(f"consumer show {key}")["description"] == "y"
    assert key in cli("consumer list")
    asked = cli.ask(
        f"request token create --consumer-key {key} --consumer-secret {secret} --project admin"
    )
    verifier = cli.ask(f"request token authorize --request-key {asked['id']} --role reader")
    given = cli.ask(
        f"access token create --consumer-key {key} --consumer-secret {secret} "
        f"--request-key {asked['id']} --request-secret {asked['secret']} "
        f"--verifier {verifier['oauth_verifier']}"
    )
    assert given["id"]
    cli(f"consumer delete {key}")


def test_no_command_is_forgotten(request: pytest.FixtureRequest) -> None:
    assert forgotten(request, commands_of("openstack.identity.v3")) == []
