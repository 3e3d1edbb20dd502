"""Which devices hold what: the ring.

A name is hashed; the first bits of the hash are its *partition*; a table says for each partition
which devices hold its replicas. The table is made by a builder (seldom, by an operator) and read
by every server (for each request), so nobody has to be asked where something is.

- devices.py: a device, and the way to write one (`r1z2-10.0.0.1:6200/sdb`)
- ring.py: the table as servers read it: lookup and handoffs
- tiers.py: how many replicas each region, zone, server and device should hold
- placement.py: which partition goes to which device, with as few moves as possible
- builder.py: what an operator changes; files.py: both files; dispersion.py: how well it is spread
- relinker.py: moves objects to where a larger partition power looks for them

In OpenStack: swift/common/ring/.
"""

from nubelet.object_store.ring.builder import RingBuilder, RingError
from nubelet.object_store.ring.devices import Device, DeviceSyntaxError
from nubelet.object_store.ring.files import RingFileError
from nubelet.object_store.ring.ring import NONE, Ring, hash_path, partition_of

__all__ = [
    "NONE",
    "Device",
    "DeviceSyntaxError",
    "Ring",
    "RingBuilder",
    "RingError",
    "RingFileError",
    "hash_path",
    "partition_of",
]
