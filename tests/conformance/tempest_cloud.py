"""A cloud prepared for Tempest: images, flavors, external network, and the tempest.conf."""

from __future__ import annotations

import configparser
import http.server
import ipaddress
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

from nubelet.settings import load
from tests import glewlwyd, saml_provider
from tests.conformance import image_samples
from tests.conformance.configurations import CONFIGURATIONS
from tests.keycloak import Keycloak
from tests.saml_provider import Provider
from tests.serving import free_port

# A second way to the images, for tests that stage on one and import on the other.
REMOTE = "image_remote"
PASSWORD = secrets.token_hex(8)
# Rules for passwords, as Tempest is told of them.
LOCKOUT_ATTEMPTS, LOCKOUT_SECONDS, UNIQUE_PASSWORDS = 2, 5, 2


class TempestCloud:
    """A cloud in a folder of its own, started by the command that users have."""

    def __init__(
        self, folder: Path, *, real: bool, configuration: str = "", hosts: int = 2
    ) -> None:
        self.folder, self.real, self.hosts = folder, real, hosts
        self.configuration = CONFIGURATIONS[configuration]
        self.state_dir = folder / "cloud"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workspace = folder / "workspace"
        self._files: http.server.ThreadingHTTPServer | None = None
        self.provider: Provider | None = None
        self.openid: Keycloak | None = None
        self.samples: list[image_samples.Sample] = []
        self.config = self.workspace / "etc" / "tempest.conf"
        self._second_url = self.url
        self._second: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and put in what Tempest expects to find."""
        self._nubelet(
            "up",
            "--port",
            str(self.port),
            "--admin-password",
            PASSWORD,
            *([] if self.real else ["--fake", "--nodes", str(self.hosts)]),
        )
        self._nubelet("image", "load-definitions")  # tests take the first resource type
        if self.configuration.machines:
            self._start_second_machine()
        self._prepare()

    def _start_second_machine(self) -> None:
        """Another process with the image API, a cache and a staging folder of its own."""
        own, port = self.folder / "second", free_port()
        self._second_url = f"http://127.0.0.1:{port}"
        words = ["serve", "--role", "api", "--state-dir", str(self.state_dir)]
        self._second = subprocess.Popen(
            [sys.executable, "-m", "nubelet", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment()
            | {
                "NUBELET_HTTP_PORT": str(port),
                "NUBELET_HTTP_WORKERS": "1",
                "NUBELET_IMAGE_MACHINE_URL": f"{self._second_url}/image",
                "NUBELET_IMAGE_STAGING_DIRECTORY": str(own / "staging"),
                "NUBELET_IMAGE_CACHE_DIRECTORY": str(own / "cache"),
            },
        )
        end = time.monotonic() + 200
        while True:
            try:
                with urllib.request.urlopen(f"{self._second_url}/healthcheck", timeout=1):
                    return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        """Remove it without a trace."""
        if self._files is not None:
            self._files.shutdown()
        if self.provider is not None:
            self.provider.close()
        if self.openid is not None:
            self.openid.close()
            self.openid.provider.stop()
        if self._second is not None:
            self._second.terminate()
            self._second.wait(100)
        self._nubelet("down", "--purge")

    def _nubelet(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "nubelet", *words, "--state-dir", str(self.state_dir)],
            check=True,
            env=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        stores = {
            # In the order of the alphabet, as Tempest compares, and of their weights.
            "archive": {
                "type": "file",
                "directory": str(self.state_dir / "archive"),
                "weight": 100,
            },
            "web": {"type": "http"},
        }
        own = {
            # At their least: thousands of users are made, and none of the tests is about hashes.
            "NUBELET_IDENTITY_PASSWORD_HASH": "scrypt",
            "NUBELET_IDENTITY_PASSWORD_HASH_COST": "10",
            "NUBELET_SECURITY_COMPLIANCE_LOCKOUT_FAILURE_ATTEMPTS": str(LOCKOUT_ATTEMPTS),
            "NUBELET_SECURITY_COMPLIANCE_LOCKOUT_DURATION": str(LOCKOUT_SECONDS),
            "NUBELET_SECURITY_COMPLIANCE_UNIQUE_LAST_PASSWORD_COUNT": str(UNIQUE_PASSWORDS),
            # Imports may read from the web server of this machine.
            "NUBELET_IMAGE_WEB_DOWNLOAD_NETWORKS": "127.0.0.0/8",
            "NUBELET_IMAGE_STORES": json.dumps(stores),
            "NUBELET_IMAGE_IMPORT_PLUGINS": "image_conversion",
            "NUBELET_IMAGE_SHOW_LOCATIONS": "true",
            "NUBELET_IMAGE_SHOW_DIRECT_URL": "true",
            "NUBELET_OBJECT_STORE_POLICIES": "gold,silver",
            # Tempest signs its forms with SHA-1.
            "NUBELET_OBJECT_STORE_SIGNATURE_DIGESTS": "sha1,sha256,sha512",
            "NUBELET_OBJECT_STORE_SYNC_REALMS": json.dumps(
                {
                    "nubelet": {
                        "key": PASSWORD,
                        "cluster_here": f"{self.url}/object-store/v1/",
                    }
                }
            ),
        }
        if self.configuration.machines:
            own["NUBELET_IMAGE_MACHINE_URL"] = f"{self.url}/image"
        return {**os.environ, **own, **self.configuration.settings}

    def _prepare(self) -> None:
        import openstack

        cloud = openstack.connect(
            auth_url=f"{self.url}/identity/v3",
            username="admin",
            password=PASSWORD,
            project_name="admin",
            user_domain_name="Default",
            project_domain_name="Default",
            region_name="RegionOne",
            load_yaml_config=False,
            load_envvars=False,
        )
        remote = cloud.identity.create_service(name=REMOTE, type=REMOTE)
        cloud.identity.create_endpoint(
            service_id=remote.id,
            interface="public",
            region_id="RegionOne",
            url=f"{self._second_url}/image",
        )
        image_file = self._image_file()
        images = [
            cloud.image.create_image(
                name=name,
                filename=str(image_file),
                disk_format="qcow2" if self.real else "raw",
                container_format="bare",
                visibility="public",
                wait=True,
            )
            for name in ("cirros", "cirros-alt")
        ]
        memory = 128 if self.real else 64
        flavors = [
            cloud.compute.create_flavor(name=name, ram=ram, vcpus=1, disk=1)
            for name, ram in (("m1.nano", memory), ("m1.micro", memory * 2))
        ]
        public = cloud.network.create_network(
            name="public",
            is_router_external=True,
            provider_network_type="flat",
            provider_physical_network="external",
        )
        addresses = ipaddress.ip_network(
            load(self.state_dir / "nubelet.toml").network.external_cidr
        )
        cloud.network.create_subnet(
            name="public",
            network_id=public.id,
            ip_version=4,
            cidr=str(addresses),
            gateway_ip=str(addresses[1]),
            is_dhcp_enabled=False,
            allocation_pools=[{"start": str(addresses[10]), "end": str(addresses[-6])}],
        )
        self._prepare_federation(cloud)
        aliases = sorted(extension.alias for extension in cloud.network.extensions())
        self._write_config(images, flavors, public, aliases, *self._serve_files())

    def _prepare_federation(self, cloud: Any) -> None:
        """The cloud is its own identity provider `keystone`, and knows another one, `external`;
        users of both have a project."""
        self.provider = Provider(self.folder)
        external = self.folder / "external.xml"
        external.write_bytes(self.provider.metadata)
        own = f"{self.url}/identity/v3/OS-FEDERATION/saml2/metadata"
        self._register("keystone", "saml", metadata=own)
        self._register("external", "saml", metadata=str(external))
        if self.configuration.openid:
            self._prepare_openid(cloud)
        domain = cloud.identity.create_domain(name="federated_domain")
        group = cloud.identity.create_group(name="federated_users", domain_id=domain.id)
        project = cloud.identity.create_project(name="federated", domain_id=domain.id)
        role = cloud.identity.find_role("member")
        cloud.identity.assign_project_role_to_group(project, group, role)

    def _prepare_openid(self, cloud: Any) -> None:
        """The provider `external` is one of OpenID Connect, administered as a Keycloak is."""
        running = glewlwyd.start(self.folder / "glewlwyd", [self.url])
        self.openid = Keycloak(running)
        self._register(
            "external",
            "oidc",
            issuer=running.issuer,
            client_id=running.client_id,
            client_secret=running.client_secret,
        )
        cloud.identity.create_identity_provider(
            id="external", remote_ids=[running.issuer], is_enabled=True
        )

    def _register(self, name: str, kind: str, **values: str) -> None:
        folder = self.state_dir / "identity-providers"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.toml"
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        path.write_text("\n".join([f"[{kind}]", *lines, ""]))
        path.chmod(0o600)

    def _image_file(self) -> Path:
        if self.real:
            from nubelet.guest.build import build
            from nubelet.guest.folders import cache_dir, image_dir

            return build(image_dir(), cache_dir()).disk.path
        path = self.folder / "image.raw"
        path.write_bytes(secrets.token_bytes(4096) * 64)
        return path

    def _serve_files(self) -> tuple[str, str]:
        """A small web server on loopback for image imports: a raw and a qcow2 file."""
        folder = self.folder / "web"
        folder.mkdir()
        (folder / "image.raw").write_bytes(secrets.token_bytes(4096))
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", folder / "image.qcow2", "1M"], check=True
        )
        handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
        self._files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._files.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self._files.server_port}"
        return f"{url}/image.raw", f"{url}/image.qcow2"

    def _write_config(
        self,
        images: list[Any],
        flavors: list[Any],
        public: Any,
        aliases: list[str],
        image_url: str,
        qcow2_url: str,
    ) -> None:
        sections: dict[str, dict[str, object]] = {
            "DEFAULT": {"log_file": "tempest.log"},
            "oslo_concurrency": {"lock_path": str(self.workspace / "locks")},
            "auth": {
                "use_dynamic_credentials": True,
                "create_isolated_networks": True,
                "admin_username": "admin",
                "admin_password": PASSWORD,
                "admin_project_name": "admin",
                "admin_domain_name": "Default",
            },
            "identity": {
                "uri_v3": f"{self.url}/identity/v3",
                "region": "RegionOne",
                "default_domain_id": "default",
                "user_lockout_failure_attempts": LOCKOUT_ATTEMPTS,
                "user_lockout_duration": LOCKOUT_SECONDS,
                "user_unique_last_password_count": UNIQUE_PASSWORDS,
            },
            "enforce_scope": {"keystone": True, "glance": True},
            "identity-feature-enabled": {
                "domain_specific_drivers": True,
                "security_compliance": True,
                # True only skips whatever makes a user; the directory itself is tested apart.
                "immutable_user_source": False,
                "federation": True,
                "external_idp": True,
            },
            "fed_scenario": {
                "idp_id": "external",
                "idp_remote_ids": saml_provider.ENTITY,
                "idp_username": saml_provider.USER,
                "idp_password": saml_provider.PASSWORD,
                "idp_ecp_url": self.provider.serve(),
                "mapping_remote_type": "uid",
                "protocol_id": "mapped",
                "mapping_group_name": "federated_users",
                "mapping_group_domain_name": "federated_domain",
            },
            "compute": {
                "image_ref": images[0].id,
                "image_ref_alt": images[1].id,
                "flavor_ref": flavors[0].id,
                "flavor_ref_alt": flavors[1].id,
                "max_microversion": "latest",
                "build_interval": 1,
                "ready_wait": 0,
                "min_compute_nodes": 1 if self.real else self.hosts,
            },
            "compute-feature-enabled": {
                "console_output": True,
                "rescue": False,
                "shelve": False,
                "snapshot": True,
                "cold_migration": False,
                "live_migration": False,
                "swap_volume": False,
                "attach_encrypted_volume": False,
                "personality": True,
                "vnc_console": False,
                "ide_bus": False,
                "scheduler_enabled_filters": ",".join(
                    (
                        "AvailabilityZoneFilter",
                        "ComputeFilter",
                        "ComputeCapabilitiesFilter",
                        "ImagePropertiesFilter",
                        "ServerGroupAntiAffinityFilter",
                        "ServerGroupAffinityFilter",
                        "SameHostFilter",
                        "DifferentHostFilter",
                    )
                ),
            },
            # Tempest uploads random bytes as the first six of these: only formats that are opaque.
            "image": {
                "http_image": image_url,
                "http_qcow2_image": qcow2_url,
                "disk_formats": "raw,ami,ari,aki,raw,ami,qcow2,iso",
                "container_formats": "bare",
                "image_caching_enabled": True,
                "build_interval": 1,
                "alternate_image_endpoint": REMOTE,
            },
            # Monitors, readers of the system among them, read here: the plugin asks otherwise.
            "glance_api": {"system_scope_supported": True},
            "image-feature-enabled": {
                "image_format_enforcement": False,
                "manage_locations": True,
                "http_store_enabled": True,
                "store_weight_enabled": True,
                "os_glance_reserved": True,
                "do_secure_hash": True,
            },
            "network": {
                "public_network_id": public.id,
                "floating_network_name": "public",
                "build_interval": 1,
            },
            "network-feature-enabled": {
                "api_extensions": ",".join(aliases),
                "ipv6_subnet_attributes": True,
                "port_security": True,
            },
            "validation": {
                "image_ssh_user": "cirros",
                "image_ssh_password": "gocubsgo",
                "run_validation": self.real,
                "ssh_key_type": "ecdsa",
            },
            "placement": {"max_microversion": "latest"},
            "object-storage": {
                "operator_role": "member",
                "reseller_admin_role": "ResellerAdmin",
                "realm_name": "nubelet",
                "cluster_name": "here",
                "tempurl_digest_hashlib": "sha256",
            },
            "service_available": {
                "nova": True,
                "glance": True,
                "neutron": True,
                "cinder": False,
                "swift": True,
                "horizon": False,
            },
        }
        if self.configuration.samples:
            sections["image"] |= {
                "images_manifest_file": str(self._make_samples() / "manifest.yaml"),
                "disk_formats": ",".join(sorted({sample.format for sample in self.samples})),
            }
        if self.openid is not None:
            sections["fed_scenario"] |= self._openid_options(self.openid)
        for section, options in self.configuration.tempest.items():
            sections[section] |= options
        self._write(self.config, sections)

    @staticmethod
    def _openid_options(keycloak: Keycloak) -> dict[str, object]:
        return {
            "idp_oidc_url": keycloak.serve(),
            "idp_username": keycloak.username,
            "idp_password": keycloak.password,
            "idp_client_id": keycloak.provider.client_id,
            "idp_client_secret": keycloak.provider.client_secret,
        }

    def _make_samples(self) -> Path:
        folder = self.folder / "samples"
        folder.mkdir()
        self.samples = image_samples.make(folder, unmistakable=self.configuration.unmistakable)
        return folder

    @staticmethod
    def _write(path: Path, sections: dict[str, dict[str, object]]) -> None:
        config = configparser.RawConfigParser()
        for section, options in sections.items():
            if section != "DEFAULT":
                config.add_section(section)
            for name, value in options.items():
                config.set(section, name, str(value))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            config.write(file)
