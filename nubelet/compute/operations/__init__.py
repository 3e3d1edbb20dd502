"""What is done to servers in steps that survive a crash.

    create_server     choose_host bind_ports fetch_image ensure_disks start_guest
                      wait_until_running mark_active
    delete_server     remove_guest release_ports remove_disks forget_server
    power.py          start, stop, reboot, pause, unpause, suspend, resume
    rebuild_server    discard fetch_image ensure_disks start_guest mark_rebuilt
    create_image      begin_image copy_disk upload_image end_task; create_backup: rotate, too
    interfaces.py     attach_interface, detach_interface
    cache_images      fetch_images, for a host

Read `hosting.py` (calls to a server's node) beside any of them.

In OpenStack: nova/conductor/manager.py and nova/compute/manager.py.
"""

from nubelet.compute.operations.cache_images import CACHE_IMAGES
from nubelet.compute.operations.create_image import CREATE_BACKUP, CREATE_IMAGE
from nubelet.compute.operations.create_server import CREATE_SERVER
from nubelet.compute.operations.delete_server import DELETE_SERVER
from nubelet.compute.operations.interfaces import ATTACH_INTERFACE, DETACH_INTERFACE
from nubelet.compute.operations.power import POWER_OPERATIONS
from nubelet.compute.operations.rebuild_server import REBUILD_SERVER
from nubelet.compute.operations.recover_server import RECOVER_SERVER

OPERATIONS = (
    CREATE_SERVER,
    DELETE_SERVER,
    *POWER_OPERATIONS.values(),
    REBUILD_SERVER,
    CREATE_IMAGE,
    CREATE_BACKUP,
    ATTACH_INTERFACE,
    DETACH_INTERFACE,
    RECOVER_SERVER,
    CACHE_IMAGES,
)

__all__ = [
    "ATTACH_INTERFACE",
    "CACHE_IMAGES",
    "CREATE_BACKUP",
    "CREATE_IMAGE",
    "CREATE_SERVER",
    "DELETE_SERVER",
    "DETACH_INTERFACE",
    "OPERATIONS",
    "POWER_OPERATIONS",
    "REBUILD_SERVER",
    "RECOVER_SERVER",
]
