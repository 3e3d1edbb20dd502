"""Options: where they come from, which one wins, and what a mistake looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nubelet.cli import reference
from nubelet.settings import Settings, SettingsError, explain, load, options, save


def loaded(tmp_path: Path, **environ: str) -> Settings:
    return load(None, environ, {"state_dir": tmp_path})


def from_file(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "nubelet.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ, {"state_dir": tmp_path})


def test_defaults_are_complete_and_live_in_the_state_folder(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert settings.http.port == 8787
    assert settings.http.host == "127.0.0.1"
    assert settings.database.url == f"sqlite:///{tmp_path}/nubelet.sqlite"
    assert settings.image.directory == tmp_path / "images"
    assert settings.policy.directory == tmp_path / "policy"
    assert settings.identity.admin_password_file == tmp_path / "admin-password"
    assert settings.identity.region == "RegionOne"


def test_file_environment_and_command_line_win_in_this_order(tmp_path: Path) -> None:
    path = tmp_path / "nubelet.toml"
    path.write_text("[http]\nport = 1001\n")
    assert load(path, {}, {}).http.port == 1001
    environ = {"NUBELET_HTTP_PORT": "1002"}
    assert load(path, environ, {}).http.port == 1002
    assert load(path, environ, {"http.port": 1003}).http.port == 1003
    assert load(path, environ, {"http.port": None}).http.port == 1002


def test_file_in_the_state_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "nubelet.toml").write_text("[log]\nlevel = 'debug'\n")
    assert load(None, {}, {"state_dir": tmp_path}).log.level == "debug"
    assert load(None, {"NUBELET_STATE_DIR": str(tmp_path)}).log.level == "debug"


def test_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("[log]\njson = true\n")
    environ = {"NUBELET_CONFIG": str(path), "NUBELET_STATE_DIR": str(tmp_path)}
    assert load(None, environ).log.json is True


def test_default_state_folder_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert load(None, {"HOME": "/home/ann"}).state_dir == Path("/home/ann/.local/state/nubelet")
    xdg = {"HOME": "/home/ann", "XDG_STATE_HOME": "/x"}
    assert load(None, xdg).state_dir == Path("/x/nubelet")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert load(None, {}).state_dir == Path("/var/lib/nubelet")


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {}, {"state_dir": "cloud"}).state_dir == tmp_path / "cloud"


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("NUBELET_LOG_JSON", "true", "log.json", True),
        ("NUBELET_COMPUTE_CPU_ALLOCATION_RATIO", "16", "compute.cpu_allocation_ratio", 16.0),
        ("NUBELET_NETWORK_DNS_SERVERS", "9.9.9.9, ::1", "network.dns_servers", ("9.9.9.9", "::1")),
        ("NUBELET_NETWORK_DNS_SERVERS", '["9.9.9.9"]', "network.dns_servers", ("9.9.9.9",)),
        ("NUBELET_NETWORK_VNI_RANGE", "10,20", "network.vni_range", (10, 20)),
        ("NUBELET_COMPUTE_QUOTAS", '{"cores": -1}', "compute.quotas", {"cores": -1}),
        ("NUBELET_HTTP_CORS_ORIGINS", "", "http.cors_origins", ()),
    ],
)
def test_values_in_the_environment(
    tmp_path: Path, variable: str, text: str, option: str, value: Any
) -> None:
    settings = loaded(tmp_path, **{variable: text})
    assert explain(settings, option).value == value


def test_tables_and_lists_in_the_file(tmp_path: Path) -> None:
    settings = from_file(
        tmp_path,
        "[compute]\nquotas = {instances = 50}\nram_allocation_ratio = 2\n"
        "[network]\nvni_range = [5, 9]\ndns_servers = ['9.9.9.9']\n",
    )
    assert settings.compute.quotas == {"instances": 50}
    assert settings.compute.ram_allocation_ratio == 2.0
    assert settings.network.vni_range == (5, 9)
    assert settings.network.dns_servers == ("9.9.9.9",)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[http]\nport = 70000\n", ["http.port", "an integer from 1 to 65535", "70000"]),
        ("[http]\nport = '80'\n", ["http.port", "an integer", '"80"']),
        ("[compute]\naccel = 'xen'\n", ["compute.accel", "one of auto, kvm, tcg", '"xen"']),
        ("[compute]\ncpu_allocation_ratio = 0\n", ["compute.cpu_allocation_ratio", "above 0"]),
        ("[compute]\nquotas = {cores = -2}\n", ["compute.quotas", "-1 up"]),
        ("[http]\nprot = 80\n", ["'http.prot'", "did you mean http.port?"]),
        ("[htpp]\nport = 80\n", ["[htpp]", "did you mean http?"]),
        ("http = 80\n", ["write [http]"]),
        ("state = 'x'\n", ["'state'"]),
        ("[http\n", ["not TOML"]),
        ("[http]\nhost = 'example.org'\n", ["http.host", "an IP address"]),
        ("[http]\npublic_url = 'cloud'\n", ["http.public_url", "https://"]),
        ("[bus]\nurl = 'redis://u:pw@h'\n", ["bus.url", "amqp://"]),
        ("[database]\nurl = 'mysql://u:pw@h'\n", ["database.url", "postgresql+psycopg://"]),
        ("[network]\nexternal_cidr = '10.0.0.1/24'\n", ["network.external_cidr", "IPv4 network"]),
        ("[network]\nexternal_cidr = '10.0.0.0/31'\n", ["network.external_cidr", "8 addresses"]),
        ("[network]\nvni_range = [9, 5]\n", ["network.vni_range", "lower identifier first"]),
        ("[network]\ndns_servers = ['x']\n", ["network.dns_servers", "IP addresses"]),
        (
            "[object_store]\ns3_domains = ['127.0.0.1']\n",
            ["object_store.s3_domains", "own host is not in"],
        ),
        (
            "[http]\npublic_url = 'https://Cloud.example.org:9/x'\n"
            "[object_store]\ns3_bucket_hosts = ['cloud.example.org']\n",
            ["object_store.s3_bucket_hosts", "not the cloud's own"],
        ),
        (
            "[http]\npublic_url = 'https://cloud.example.org'\n"
            "[object_store]\ns3_website_domains = ['Example.org']\n",
            ["object_store.s3_website_domains", "own host is not in"],
        ),
        ("[http]\npublic_url = 'http://[x'\n", ["http.public_url", "https://"]),
        ("[image]\ndirectory = ''\n", ["image.directory", "the path of a file or folder"]),
        (
            "[identity]\npassword_hash = 'bcrypt'\npassword_hash_cost = 30\n",
            ["identity.password_hash_cost", "4 to 20 for bcrypt"],
        ),
    ],
)
def test_mistake_names_file_option_and_what_is_expected(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        from_file(tmp_path, text)
    message = str(caught.value)
    assert str(tmp_path / "nubelet.toml") in message
    for part in parts:
        assert part in message
    assert "pw" not in message


def test_mistakes_in_the_environment_and_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="NUBELET_HTTP_PORT: http.port: expected an integer"):
        loaded(tmp_path, NUBELET_HTTP_PORT="eighty")
    with pytest.raises(SettingsError, match="NUBELET_HTTP_PROT.*did you mean NUBELET_HTTP_PORT"):
        loaded(tmp_path, NUBELET_HTTP_PROT="80")
    with pytest.raises(SettingsError, match="command line: there is no option 'http.prot'"):
        load(None, {}, {"state_dir": tmp_path, "http.prot": 80})
    with pytest.raises(SettingsError, match="command line: http.port: expected"):
        load(None, {}, {"state_dir": tmp_path, "http.port": 0})


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    assert loaded(tmp_path, NUBELET_SHARED="/somewhere", PATH="/bin").http.port == 8787


def test_named_file_that_is_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="absent.toml: cannot be read"):
        load(tmp_path / "absent.toml", {})


def test_explain_tells_value_origin_and_meaning(tmp_path: Path) -> None:
    settings = from_file(tmp_path, "[http]\nport = 99\n", NUBELET_LOG_LEVEL="debug")
    port = explain(settings, "http.port")
    assert (port.value, port.origin) == (99, str(tmp_path / "nubelet.toml"))
    assert "TCP port" in str(port)
    assert explain(settings, "log.level").origin == "environment NUBELET_LOG_LEVEL"
    assert explain(settings, "state_dir").origin == "command line"
    assert explain(settings, "limits.page_size").origin == "default"
    assert explain(settings, "image.directory").origin == "default, from state_dir"
    with pytest.raises(SettingsError, match="did you mean http.port"):
        explain(settings, "http.prt")


def test_explain_hides_passwords(tmp_path: Path) -> None:
    url = "postgresql+psycopg://ann:pw@db/cloud"
    text = str(explain(loaded(tmp_path, NUBELET_DATABASE_URL=url), "database.url"))
    assert "postgresql+psycopg://ann:***@db/cloud" in text
    assert "pw" not in text


def test_saved_settings_load_as_they_were(tmp_path: Path) -> None:
    given = {
        "state_dir": tmp_path,
        "http.port": 99,
        "identity.admin_user": 'ann "\\ \U0001f600',
        "network.vni_range": [5, 9],
        "network.dns_servers": ["9.9.9.9"],
        "compute.quotas": {"cores": 7, "key pairs": -1},
        "compute.ram_allocation_ratio": 1.5,
        "log.json": True,
    }
    settings = load(None, {"NUBELET_DATABASE_URL": "postgresql+psycopg://a:pw@db/c"}, given)
    path = tmp_path / "new" / "nubelet.toml"
    save(settings, path)
    again = load(path, {}, {})
    for option in options():
        assert again.value(option.name) == settings.value(option.name), option.name
    assert path.stat().st_mode & 0o077 == 0
    assert "page_size" not in path.read_text()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:8787"),
        ({"http.host": "0.0.0.0"}, "http://127.0.0.1:8787"),
        ({"http.host": "::", "http.port": 99}, "http://[::1]:99"),
        ({"http.public_url": "https://cloud.example.org/"}, "https://cloud.example.org"),
    ],
)
def test_url_of_the_cloud(tmp_path: Path, given: dict[str, Any], url: str) -> None:
    assert load(None, {}, {"state_dir": tmp_path, **given}).http.url == url


def test_every_option_is_documented() -> None:
    for option in options():
        assert option.description.endswith("."), option.name
        assert option.expected, option.name
    names = [option.variable for option in options()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("option", options(), ids=lambda option: option.name)
def test_every_default_and_example_is_accepted(tmp_path: Path, option: Any) -> None:
    for example in option.examples:
        load(None, {}, {"state_dir": tmp_path, option.name: example})


def test_reference_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs/reference/settings.md"
    assert page.read_text(encoding="utf-8") == reference.settings_page(), "run: make docs"
