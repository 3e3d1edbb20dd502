"""The settings of a cloud: few options, each in one table, from one TOML file and the environment.

In the file an option stands in its table (`[http]`, `port = 8787`), in the environment it is
`NUBELET_HTTP_PORT=8787`; the command line wins over both. `nubelet config explain http.port` prints
what `explain` answers.

Read next: `options.py`, the table; `loading.py`, how it is read.
"""

from nubelet.settings.loading import Explanation, explain, load, save
from nubelet.settings.options import (
    Bus,
    Compute,
    Database,
    FileStore,
    Http,
    HttpStore,
    Identity,
    Image,
    Limits,
    Log,
    Network,
    ObjectStore,
    Policy,
    RbdStore,
    S3Store,
    SecurityCompliance,
    Settings,
    Store,
    SwiftStore,
)
from nubelet.settings.table import Option, SettingsError, as_toml, options

__all__ = [
    "Bus",
    "Compute",
    "Database",
    "Explanation",
    "FileStore",
    "Http",
    "HttpStore",
    "Identity",
    "Image",
    "Limits",
    "Log",
    "Network",
    "ObjectStore",
    "Option",
    "Policy",
    "RbdStore",
    "S3Store",
    "SecurityCompliance",
    "Settings",
    "SettingsError",
    "Store",
    "SwiftStore",
    "as_toml",
    "explain",
    "load",
    "options",
    "save",
]
