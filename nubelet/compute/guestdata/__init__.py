"""What a server is told about itself: the metadata service and the config drive, from one source.

    documents.py     the OpenStack tree: meta_data.json, network_data.json, user_data...
    ec2.py           the EC2 tree: latest/meta-data/...
    facts.py         what both are made from, read in a fixed number of queries
    service.py       169.254.169.254: who asks, and what is at a path
    drive.py         the same files on a disk

In OpenStack: nova/api/metadata, nova/virt/configdrive.py.
"""

from nubelet.compute.guestdata.drive import config_drive_files
from nubelet.compute.guestdata.service import metadata

__all__ = ["config_drive_files", "metadata"]
