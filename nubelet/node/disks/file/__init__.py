"""Images and guest disks as files on this host.

    <state>/images/<image id>.<raw or qcow2>   the cache; <image id>.json says what it is
    <state>/guests/<guest id>/<disk id>.<format>   copy on write from an image, or empty
    <state>/guests/<guest id>/<disk id>.json       the disk's spec, written before the disk
    <state>/guests/<guest id>/config.<iso or img>  the config drive

Every file is made beside its place and renamed, so what has the right name is whole.

Read next: `driver.py`, then `images.py`, `config_drive.py`, `qemu_img.py`.
"""

from nubelet.node.disks.file.driver import FileDisks

__all__ = ["FileDisks"]
