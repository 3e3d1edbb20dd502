"""Every option of a cloud: its name, type, default, meaning and an example, in one table.

The table is the structs below; `docs/reference/settings.md` is made from them. There are few
options on purpose: what can be worked out is not asked. Where a default depends on another option
the field is empty here and `extra["default"]` says what `load` fills in; `extra["secret"]`
marks a value that is never shown in full.

Read next: `loading.py`, which reads them; `table.py`, which describes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of options: one table of the TOML file."""


class Http(Section, frozen=True):
    """The one port that serves every API by path."""

    host: Annotated[
        str,
        Meta(
            description="Address to listen on. 127.0.0.1 keeps the cloud to this machine.",
            examples=["0.0.0.0"],  # noqa: S104 - an example for the reference page
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=1, le=65535, description="TCP port to listen on.", examples=[8080])
    ] = 8787
    public_url: Annotated[
        str,
        Meta(
            description="URL of the cloud as its users reach it: the catalog and all links use it."
            " Empty: as the request came in.",
            examples=["https://cloud.example.org"],
        ),
    ] = ""
    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="API processes. More than one is worth it with PostgreSQL only.",
            examples=[4],
        ),
    ] = 1
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins whose pages may call the APIs from a browser; `*` is any.",
            examples=[["https://dashboard.example.org"]],
        ),
    ] = ()

    @property
    def url(self) -> str:
        """The public URL, else the URL on this machine; without a `/` at the end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class Limits(Section, frozen=True):
    """Bounds on what one request may ask for."""

    body_bytes: Annotated[
        int,
        Meta(
            ge=65536,
            description="Largest request body, except uploads of images and objects.",
            examples=[2097152],
        ),
    ] = 1048576
    header_bytes: Annotated[
        int,
        Meta(ge=4096, le=1048576, description="Largest request line and headers, together."),
    ] = 32768
    page_size: Annotated[
        int,
        Meta(
            ge=1,
            le=100000,
            description="Most items in one page of a list, and the size when none is asked for.",
            examples=[500],
        ),
    ] = 1000


class Database(Section, frozen=True):
    """Where the truth is kept."""

    url: Annotated[
        str,
        Meta(
            description="SQLite on one machine, PostgreSQL for many.",
            examples=["postgresql+psycopg://nubelet:secret@db.example.org/nubelet"],
            extra={"default": "sqlite:///STATE_DIR/nubelet.sqlite", "secret": True},
        ),
    ] = ""


class Bus(Section, frozen=True):
    """How the control plane reaches the nodes."""

    url: Annotated[
        str,
        Meta(
            description="RabbitMQ for nodes on other machines. Empty: inside the process.",
            examples=["amqp://nubelet:secret@mq.example.org:5672/nubelet"],
            extra={"secret": True},
        ),
    ] = ""


class Identity(Section, frozen=True):
    """Users, tokens, passwords, and the names made at the first start."""

    region: Annotated[
        str, Meta(min_length=1, max_length=255, description="Region of the endpoints.")
    ] = "RegionOne"
    admin_user: Annotated[
        str, Meta(min_length=1, max_length=255, description="First user, administrator of all.")
    ] = "admin"
    admin_project: Annotated[
        str, Meta(min_length=1, max_length=64, description="Project of the first user.")
    ] = "admin"
    admin_password_file: Annotated[
        Path,
        Meta(
            description="File with the first user's password; made up and written there (mode"
            " 0600) at the first start when absent.",
            examples=["/run/secrets/nubelet-admin"],
            extra={"default": "STATE_DIR/admin-password"},
        ),
    ] = Path()
    token_lifetime_seconds: Annotated[
        int, Meta(ge=60, le=31536000, description="How long a token is valid.", examples=[14400])
    ] = 3600
    key_rotation_seconds: Annotated[
        int,
        Meta(
            ge=300,
            description="How often a new Fernet key takes over. A key is kept as long as a token"
            " made with it may live.",
            examples=[604800],
        ),
    ] = 86400
    credential_key_rotation_seconds: Annotated[
        int,
        Meta(
            ge=3600,
            description="How often a new key takes over for the secrets that are kept of users;"
            " all of them are sealed again then.",
            examples=[7776000],
        ),
    ] = 2592000
    password_hash: Annotated[
        Literal["argon2id", "bcrypt", "scrypt"],
        Meta(description="How new passwords are hashed; hashes of all three kinds verify."),
    ] = "argon2id"  # noqa: S105 - an algorithm, not a password
    password_hash_cost: Annotated[
        int,
        Meta(
            ge=0,
            description="Work per hash: passes of argon2id (1 to 16; fewer than 5 take more"
            " memory), log2 of the rounds of bcrypt (4 to 20), log2 of N of scrypt (10 to 22)."
            " 0: the recommended cost (5, 12, 16).",
            examples=[3],
        ),
    ] = 0
    catalog_file: Annotated[
        Path,
        Meta(
            description="File with the catalog, in the form of Keystone's templates, read again"
            " when it changes. Without one the catalog is in the database.",
            examples=["/etc/nubelet/catalog.templates"],
        ),
    ] = Path()
    directory_refresh_seconds: Annotated[
        int,
        Meta(
            ge=0,
            le=86400,
            description="How old a list of the users or groups of a domain that has its own"
            " directory (LDAP) may be.",
            examples=[300],
        ),
    ] = 30
    limit_model: Annotated[
        Literal["flat", "strict_two_level"],
        Meta(
            description="How unified limits go together: flat takes each project by itself;"
            " strict_two_level holds projects to the limit of their domain."
        ),
    ] = "flat"


class SecurityCompliance(Section, frozen=True):
    """Rules for passwords and logins of users in the database; all are off unless set. The names
    are those of Keystone's `[security_compliance]`."""

    lockout_failure_attempts: Annotated[
        int,
        Meta(
            ge=0,
            description="So many wrong passwords in a row lock the user out. 0: never.",
            examples=[6],
        ),
    ] = 0
    lockout_duration: Annotated[
        int,
        Meta(
            ge=0,
            description="Seconds that a user stays locked out. 0: until an administrator enables"
            " the user again; the last administrator half an hour.",
            examples=[3600],
        ),
    ] = 1800
    unique_last_password_count: Annotated[
        int,
        Meta(
            ge=0,
            le=24,
            description="So many of a user's last passwords cannot be chosen again. 0: any can.",
            examples=[5],
        ),
    ] = 0
    minimum_password_age: Annotated[
        int,
        Meta(
            ge=0,
            le=3650,
            description="Days before a user may change a password that they chose themselves.",
            examples=[1],
        ),
    ] = 0
    password_expires_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36500,
            description="Days that a password is good for, counted when it is set. 0: for ever.",
            examples=[90],
        ),
    ] = 0
    change_password_upon_first_use: Annotated[
        bool,
        Meta(
            description="Whether a password set by an administrator is good for nothing but"
            " choosing another."
        ),
    ] = False
    password_regex: Annotated[
        str,
        Meta(
            description="Regular expression (Python's) that a new password must match from its"
            " beginning. Empty: any does.",
            examples=[r"^(?=.*\d)(?=.*[a-zA-Z]).{7,}$"],
        ),
    ] = ""
    password_regex_description: Annotated[
        str,
        Meta(
            description="The same in words, for users whose password is refused.",
            examples=["A password has a letter, a digit, and 7 characters or more."],
        ),
    ] = ""
    disable_user_account_days_inactive: Annotated[
        int,
        Meta(
            ge=0,
            le=36500,
            description="Users who have not logged in for so many days are disabled. 0: never.",
            examples=[90],
        ),
    ] = 0


class Federation(Section, frozen=True):
    """Users who are known elsewhere: identity providers, dashboards, a proxy in front."""

    directory: Annotated[
        Path,
        Meta(
            description="Folder of registrations: ID.toml holds issuer, client and certificates for"
            " the identity provider of that id.",
            examples=["/etc/nubelet/identity-providers"],
            extra={"default": "STATE_DIR/identity-providers"},
        ),
    ] = Path()
    trusted_dashboards: Annotated[
        tuple[str, ...],
        Meta(
            description="URLs that a login in the browser may hand its token to.",
            examples=[["https://dashboard.example.org/auth/websso/"]],
        ),
    ] = ()
    default_authorization_ttl: Annotated[
        int,
        Meta(
            ge=0,
            le=52560000,
            description="Minutes that the groups of a federated login hold beyond its token, for"
            " identity providers that say nothing else.",
            examples=[1440],
        ),
    ] = 0
    proxy_addresses: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of proxies whose headers say who somebody is. Such a"
            " proxy must remove these headers from what its clients send.",
            examples=[["10.20.0.5"]],
        ),
    ] = ()
    proxy_headers: Annotated[
        tuple[str, ...],
        Meta(description="How the headers that such a proxy sets begin."),
    ] = ("OIDC", "MELLON", "Shib", "Remote-User", "X-Remote-User")
    assertion_lifetime_seconds: Annotated[
        int,
        Meta(
            ge=30,
            le=86400,
            description="How long an assertion is valid that lets a user into another cloud.",
        ),
    ] = 3600


class FileStore(Section, frozen=True, tag="file"):
    """Image data as files of a folder."""

    directory: Path
    description: str = "Files on this cloud's disks"
    weight: int = 0


class HttpStore(Section, frozen=True, tag="http"):
    """Image data that others serve: read, never written."""

    description: str = "Data that web servers offer"
    weight: int = 0


class S3Store(Section, frozen=True, tag="s3"):
    """Image data as objects of a bucket."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key_file: Path
    region: str = "us-east-1"
    part_bytes: Annotated[int, Meta(ge=5242880, le=1073741824)] = 33554432
    description: str = "Objects of an S3 service"
    weight: int = 0


class SwiftStore(Section, frozen=True, tag="swift"):
    """Image data as objects of a container of an object store."""

    auth_url: str
    username: str
    password_file: Path
    project_name: str
    container: str = "images"
    user_domain: str = "Default"
    project_domain: str = "Default"
    region: str = ""
    interface: Literal["public", "internal", "admin"] = "public"
    segment_bytes: Annotated[int, Meta(ge=1048576, le=5368709120)] = 209715200
    description: str = "Objects of an object store"
    weight: int = 0


class RbdStore(Section, frozen=True, tag="rbd"):
    """Image data as block devices of a Ceph pool."""

    pool: str
    user: str = "admin"
    config: Path = Path("/etc/ceph/ceph.conf")
    keyring: Path | None = None
    object_bytes: Annotated[int, Meta(ge=4096, le=33554432)] = 8388608
    timeout_seconds: Annotated[int, Meta(ge=1, le=600)] = 10
    description: str = "Block devices of a Ceph pool"
    weight: int = 0


Store = FileStore | HttpStore | S3Store | SwiftStore | RbdStore


class Image(Section, frozen=True):
    """Images: stores of their data, and imports."""

    directory: Annotated[
        Path,
        Meta(
            description="Folder of image files.",
            examples=["/srv/images"],
            extra={"default": "STATE_DIR/images"},
        ),
    ] = Path()
    max_bytes: Annotated[
        int, Meta(ge=1048576, description="Largest image that may be uploaded.")
    ] = 1099511627776
    web_download_networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks that web-download may fetch images from beside public addresses.",
            examples=[["10.20.0.0/24"]],
        ),
    ] = ()
    stores: Annotated[
        dict[str, Store],
        Meta(
            description="Stores of image data beside `file`, the files in `image.directory`; a"
            " table called file replaces that one. Each has a type (file, http, s3, swift, rbd),"
            " the options of its type, and may have a description and a weight: copies are read"
            " from the store of the greatest weight. See docs/operating/image-stores.md.",
            examples=[{"archive": {"type": "file", "directory": "/srv/archive", "weight": 50}}],
        ),
    ] = {}
    default_store: Annotated[
        str, Meta(min_length=1, max_length=255, description="Store of data that names none.")
    ] = "file"
    import_methods: Annotated[
        tuple[Literal["glance-direct", "web-download", "copy-image", "glance-download"], ...],
        Meta(description="Ways to import an image.", examples=[["glance-direct"]]),
    ] = ("glance-direct", "web-download", "copy-image", "glance-download")
    import_plugins: Annotated[
        tuple[Literal["image_decompression", "image_conversion", "inject_image_metadata"], ...],
        Meta(
            description="What is done with every imported image, in this order.",
            examples=[["image_decompression", "image_conversion"]],
        ),
    ] = ()
    conversion_format: Annotated[
        Literal["qcow2", "raw", "vmdk", "vhd"],
        Meta(description="Format that image_conversion brings imported images to."),
    ] = "raw"
    inject_properties: Annotated[
        dict[str, str],
        Meta(
            description="Properties that inject_image_metadata gives to images imported by users"
            " who are not administrators.",
            examples=[{"os_shutdown_timeout": "60"}],
        ),
    ] = {}
    show_locations: Annotated[
        bool,
        Meta(
            description="Show where data lies, and let locations be changed by PATCH. The URLs"
            " tell about the inside of the cloud."
        ),
    ] = False
    show_direct_url: Annotated[
        bool, Meta(description="Show the URL of the first location as `direct_url`.")
    ] = False
    require_format_match: Annotated[
        bool,
        Meta(
            description="Refuse data that is not of the image's disk_format, or that points outside"
            " of itself. When off, it is stored with a warning; conversions and hosts refuse it"
            " all the same."
        ),
    ] = True
    hash_locations: Annotated[
        bool,
        Meta(description="Compute checksum and hash of data that is added by its location."),
    ] = True
    cache_directory: Annotated[
        Path,
        Meta(
            description="Folder of copies of images whose data lies in remote stores.",
            examples=["/srv/image-cache"],
            extra={"default": "STATE_DIR/image-cache"},
        ),
    ] = Path()
    cache_bytes: Annotated[
        int,
        Meta(ge=0, description="The most that these copies may take. 0: there is no image cache."),
    ] = 10737418240
    staging_directory: Annotated[
        Path,
        Meta(
            description="Folder of data that waits for its import, and of imports on their way.",
            examples=["/srv/image-staging"],
            extra={"default": "staging in image.directory"},
        ),
    ] = Path()
    machine_url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^/?#@\s]+(/[^?#@\s]*)?)?$",
            max_length=200,
            description="Where other machines of this cloud reach the image API of this one, when"
            " several serve it, each with a cache and a staging folder of its own. Empty: there is"
            " one, or they share the folder. See docs/operating/image-machines.md.",
            examples=["http://10.20.0.11:8774/image"],
        ),
    ] = ""
    property_protection_file: Annotated[
        str,
        Meta(
            description="File that says which properties of images who may create, read, update"
            " and delete; read again when changed. Empty: everybody may everything. See"
            " docs/operating/image-properties.md.",
            examples=["/etc/nubelet/property-protection.conf"],
        ),
    ] = ""
    property_protection_rule_format: Annotated[
        Literal["roles", "policies"],
        Meta(description="What stands behind the actions in that file: roles or policy checks."),
    ] = "roles"


class ObjectStore(Section, frozen=True):
    """The store of objects."""

    directory: Annotated[
        Path,
        Meta(
            description="Folder of objects and their listings.",
            examples=["/srv/objects"],
            extra={"default": "STATE_DIR/object-store"},
        ),
    ] = Path()
    policies: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="Names of the storage policies that containers may ask for; the first is"
            " the default. Append to it, never reorder: containers remember their place in it.",
            examples=[["gold", "silver"]],
        ),
    ] = ("Policy-0",)
    cluster: Annotated[
        str,
        Meta(
            description="Folder with the rings and `cluster.toml` of a cluster of storage nodes,"
            " which then holds the objects (and names the policies). Empty: `directory` does.",
            examples=["/etc/nubelet/object-cluster"],
        ),
    ] = ""
    memcached: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^ ]+:[0-9]+$")], ...],
        Meta(
            description="Servers of memcached, `host:port` each, where proxies of a cluster"
            " remember for half a minute which accounts and containers there are, with their"
            " metadata. The same list on all proxies. Needs `pip install nubelet[memcached]`.",
            examples=[["10.0.0.21:11211", "10.0.0.22:11211"]],
        ),
    ] = ()
    encryption: Annotated[
        bool,
        Meta(
            description="Encrypt what is stored from now on, with the secrets in"
            " STATE_DIR/object-store-keys. Losing them loses the objects."
        ),
    ] = False
    reap_delay_seconds: Annotated[
        float,
        Meta(
            ge=0,
            description="How long the objects of a deleted account are kept. A cluster of storage"
            " nodes has its own, `timing.reap_delay_seconds` in `cluster.toml`.",
            examples=[86400.0],
        ),
    ] = 0.0
    users: Annotated[
        dict[str, str],
        Meta(
            description="Users of the store's own (`/object-store/auth/v1.0`), who need no identity"
            " service: `account:user` -> password, and `.admin` (owns the account) or"
            " `.reseller_admin` (owns all) behind it.",
            examples=[{"test:tester": "testing .admin"}],
            extra={"secret": True},
        ),
    ] = {}
    s3_regions: Annotated[
        tuple[Annotated[str, Meta(pattern="^[A-Za-z0-9-]{2,63}$")], ...],
        Meta(
            min_length=1,
            description="Regions that S3's users may name when they make a bucket; those who name"
            " none get the first.",
            examples=[["eu-central-1", "eu-west-1"]],
        ),
    ] = ("us-east-1",)
    s3_customer_keys_over_http: Annotated[
        bool,
        Meta(
            description="Take keys of S3's customers (SSE-C) over plain HTTP too, where everybody"
            " on the way can read them. For tests, and where a proxy that speaks TLS is in front."
        ),
    ] = False
    s3_log_seconds: Annotated[
        float,
        Meta(
            gt=0,
            description="How long lines of buckets' access logs are collected before they are"
            " written. A process that is killed loses those that it has.",
            examples=[300.0],
        ),
    ] = 60.0
    s3_domains: Annotated[
        tuple[str, ...],
        Meta(
            description="Domains below which a host names a bucket to S3: `BUCKET.DOMAIN`.",
            examples=[["s3.example.com"]],
        ),
    ] = ()
    s3_website_domains: Annotated[
        tuple[str, ...],
        Meta(
            description="Domains below which a host shows a bucket as a web site.",
            examples=[["web.example.com"]],
        ),
    ] = ()
    s3_bucket_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Hosts that are called as the bucket they show (their name is a CNAME of"
            " ours).",
            examples=[["www.example.com"]],
        ),
    ] = ()
    signature_digests: Annotated[
        tuple[Literal["sha1", "sha256", "sha512"], ...],
        Meta(
            description="Digests that temporary URLs and upload forms may be signed with.",
            examples=[["sha1", "sha256", "sha512"]],
        ),
    ] = ("sha256", "sha512")
    sync_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Hosts that containers may be synchronized with by URL and key alone, and"
            " that may send so here: names in `X-Container-Sync-To`, addresses of senders.",
            examples=[["swift.example", "192.0.2.7"]],
        ),
    ] = ()
    storage_domains: Annotated[
        tuple[str, ...],
        Meta(
            description="Domains below which hosts are accounts and containers:"
            " `container.account.DOMAIN`. DNS must lead `*.DOMAIN` and `*.*.DOMAIN` here.",
            examples=[["storage.example.com"]],
        ),
    ] = ()
    cname_lookup_depth: Annotated[
        int,
        Meta(
            ge=0,
            le=16,
            description="Other hosts may be aliases of those below `storage_domains`: each is"
            " looked up in DNS, through so many aliases (CNAME) at most, and refused if it leads"
            " to none. 0: no host is looked up. Not asked about are addresses, names without a"
            " dot, and the host of `http.public_url`: set that when hosts are looked up. Needs"
            " `pip install nubelet[cname-lookup]`.",
            examples=[2],
        ),
    ] = 0
    cname_nameservers: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[0-9a-fA-F.:\[\]]+$")], ...],
        Meta(
            description="Name servers that hosts are looked up at, `address` or `address:port`"
            " (`[address]:port` for IPv6). None: those of the machine.",
            examples=[["192.0.2.53", "[2001:db8::53]:5353"]],
        ),
    ] = ()
    info_key: Annotated[
        str,
        Meta(
            description="Key that signs requests for the operator's part of `/info`"
            " (`swiftinfo_sig`). Empty: there is none.",
            extra={"secret": True},
        ),
    ] = ""
    account_writes_per_second: Annotated[
        float,
        Meta(ge=0, description="Containers made and deleted in one account; 0: without limit."),
    ] = 0.0
    container_writes_per_second: Annotated[
        dict[str, float],
        Meta(
            description="Objects written in one container: number of objects in it -> writes per"
            " second. In between, the rate is in between; below the smallest, without limit.",
            examples=[{"100000": 100.0, "1000000": 20.0}],
        ),
    ] = {}
    container_listings_per_second: Annotated[
        dict[str, float],
        Meta(
            description="Listings of one container, by its size as above.",
            examples=[{"1000000": 10.0}],
        ),
    ] = {}
    rate_limit_wait_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="How long a request waits for its turn before it is refused (498).",
        ),
    ] = 5.0
    open_expired: Annotated[
        bool,
        Meta(
            description="Let owners of accounts read and change objects that have expired and are"
            " not removed yet, by the header `X-Open-Expired: true`."
        ),
    ] = False
    sync_realms: Annotated[
        dict[str, dict[str, str]],
        Meta(
            description="Stores that containers may be synchronized with: name of a realm -> its"
            " `key`, and `cluster_NAME` with the URL of each store in it, up to `/v1/`.",
            examples=[{"us": {"key": "secret", "cluster_east": "https://east.example/v1/"}}],
            extra={"secret": True},
        ),
    ] = {}


class Compute(Section, frozen=True):
    """Hypervisors and what they offer."""

    hypervisor: Annotated[
        Literal["libvirt", "fake"],
        Meta(description="`fake` keeps guests in memory: no root, no QEMU, all APIs."),
    ] = "libvirt"
    accel: Annotated[
        Literal["auto", "kvm", "tcg"],
        Meta(description="`auto` uses KVM where a probe shows that it truly works, else TCG."),
    ] = "auto"
    cpu_allocation_ratio: Annotated[
        float, Meta(gt=0, le=128, description="Virtual CPUs offered per CPU.", examples=[16.0])
    ] = 4.0
    ram_allocation_ratio: Annotated[
        float, Meta(gt=0, le=16, description="Memory offered per memory there is.")
    ] = 1.0
    disk_allocation_ratio: Annotated[
        float, Meta(gt=0, le=64, description="Disk offered per disk there is.", examples=[2.0])
    ] = 1.0
    reserved_memory_mib: Annotated[
        int, Meta(ge=0, description="Memory of each host kept for the host itself.")
    ] = 512
    fake_nodes: Annotated[
        int, Meta(ge=1, le=1000, description="Hosts of the fake hypervisor.", examples=[20])
    ] = 1
    host_down_seconds: Annotated[
        int,
        Meta(
            ge=10,
            le=3600,
            description="A host that was not heard of for so long is down: it gets no servers.",
            examples=[30],
        ),
    ] = 60
    weights: Annotated[
        dict[str, float],
        Meta(
            description="How much each weigher counts when a host is chosen among those that fit:"
            " ram, cpu, disk (free space), io_ops (servers being built; negative avoids),"
            " soft_affinity, soft_anti_affinity. Where they differ from 1 (io_ops: -1).",
            examples=[{"ram": -1.0, "cpu": 0.0}],
        ),
    ] = {}
    quotas: Annotated[
        dict[str, Annotated[int, Meta(ge=-1)]],
        Meta(
            description="Quotas of a project that has none of its own, where they differ from"
            " upstream's; -1 is no limit.",
            examples=[{"instances": 50, "cores": 100}],
        ),
    ] = {}


class Network(Section, frozen=True):
    """Virtual networks."""

    switching: Annotated[
        Literal["linux", "fake"],
        Meta(description="`linux`: bridges, namespaces, nftables and VXLAN of the kernel."),
    ] = "linux"
    external_network: Annotated[
        str, Meta(min_length=1, max_length=255, description="Name of the first external network.")
    ] = "public"
    external_cidr: Annotated[
        str,
        Meta(
            description="Its subnet: floating IPs come from here, the first address is the host's.",
            examples=["203.0.113.0/24"],
        ),
    ] = "172.24.4.0/24"
    vni_range: Annotated[
        tuple[
            Annotated[int, Meta(ge=1, le=16777215)],
            Annotated[int, Meta(ge=1, le=16777215)],
        ],
        Meta(description="First and last VXLAN identifier for networks.", examples=[[1000, 1999]]),
    ] = (1, 16777215)
    mtu: Annotated[
        int,
        Meta(
            ge=1280,
            le=65535,
            description="MTU of the machine's own network; networks in VXLAN get 50 bytes less.",
            examples=[9000],
        ),
    ] = 1500
    dns_servers: Annotated[
        tuple[str, ...],
        Meta(
            description="Name servers of guests whose subnet names none. Empty: the host's own.",
            examples=[["9.9.9.9", "2620:fe::fe"]],
        ),
    ] = ()
    quotas: Annotated[
        dict[str, Annotated[int, Meta(ge=-1)]],
        Meta(
            description="As `compute.quotas`, for networks, ports and the like.",
            examples=[{"floatingip": 100}],
        ),
    ] = {}


class Log(Section, frozen=True):
    """What is written about the work."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least severity that is written.", examples=["debug"]),
    ] = "info"
    json: Annotated[
        bool, Meta(description="One JSON object per line, for a log collector.", examples=[True])
    ] = False


class Policy(Section, frozen=True):
    """Who may do what."""

    directory: Annotated[
        Path,
        Meta(
            description="Folder of policy overrides, one file per service (`compute.yaml`), in the"
            " language of policy.yaml; read again when changed.",
            examples=["/etc/nubelet/policy"],
            extra={"default": "STATE_DIR/policy"},
        ),
    ] = Path()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All options of one cloud. Made by `load`, which fills in what depends on `state_dir`."""

    state_dir: Annotated[
        Path,
        Meta(
            description="Folder of everything the cloud keeps. Two clouds on one machine differ in"
            " this and in `http.port`.",
            examples=["/srv/cloud"],
            extra={"default": "/var/lib/nubelet as root, else ~/.local/state/nubelet"},
        ),
    ]
    services: Annotated[
        tuple[Literal["identity", "object-store"], ...],
        Meta(
            description="Run only these services, which need none of the others; empty for all."
            " Identity, and what `nubelet status` asks, always run.",
            examples=[["object-store"]],
        ),
    ] = ()
    http: Http = Http()
    limits: Limits = Limits()
    database: Database = Database()
    bus: Bus = Bus()
    identity: Identity = Identity()
    security_compliance: SecurityCompliance = SecurityCompliance()
    federation: Federation = Federation()
    image: Image = Image()
    object_store: ObjectStore = ObjectStore()
    compute: Compute = Compute()
    network: Network = Network()
    log: Log = Log()
    policy: Policy = Policy()
    origins: dict[str, str] = {}
    """Option name -> where its value was found. Not an option itself."""

    def value(self, option: str) -> Any:
        """The value of an option by its name, as in `http.port`; AttributeError if unknown."""
        section, _, field = option.rpartition(".")
        return getattr(getattr(self, section) if section else self, field)
