"""Clouds that some tests want otherwise than the rest: named, with what differs.

`lists/configurations.tsv` says which tests run in which; all others run in the plain one, "".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Configuration:
    """What differs: options of the cloud, of tempest.conf (by section), whether the samples of
    image formats are made (`unmistakable`: without those that are another format, or another one
    too), whether a second machine serves the image API, whether the external identity provider is
    one of OpenID Connect instead of SAML, whether hosts are real ones though no guest is logged in
    to."""

    settings: Mapping[str, str] = field(default_factory=dict)
    tempest: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    samples: bool = False
    unmistakable: bool = False
    machines: bool = False
    openid: bool = False
    real: bool = False


CONFIGURATIONS = {
    "": Configuration(),
    "no-hashes": Configuration(
        settings={"NUBELET_IMAGE_HASH_LOCATIONS": "false"},
        tempest={"image-feature-enabled": {"do_secure_hash": False}},
    ),
    # The service inspects formats; other tests of Tempest are left out when it is told so.
    "formats": Configuration(
        tempest={
            "image-feature-enabled": {"image_format_enforcement": True, "image_conversion": True}
        },
        samples=True,
    ),
    # It lets everything in, and the hosts look: those are real, as fake ones fetch no images.
    # Tempest declares each sample as another format, which must be wrong then.
    "formats-unchecked": Configuration(
        settings={"NUBELET_IMAGE_REQUIRE_FORMAT_MATCH": "false"},
        samples=True,
        unmistakable=True,
        real=True,
    ),
    # Processes of one machine meet at a socket when there are several (NUBELET_HTTP_WORKERS).
    "machines": Configuration(settings={"NUBELET_HTTP_WORKERS": "2"}, machines=True),
    # One protocol for all scenarios: Tempest has one option for it.
    "openid": Configuration(
        tempest={"fed_scenario": {"protocol_id": "openid", "mapping_remote_type": "OIDC-sub"}},
        openid=True,
    ),
}
