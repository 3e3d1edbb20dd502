"""Image data from one disk format into another, or unpacked, by programs under limits.

For processes of the control plane that run operations: wiring gives this to the image service.
Formats are stated, never guessed; disks were inspected before (`image/formats`).
"""

from __future__ import annotations

from pathlib import Path

from nubelet.node import commands
from nubelet.node.disks.file.qemu_img import qemu_format

MEMORY_BYTES = 2 << 30
CPU_SECONDS, TIMEOUT_SECONDS = 3600, 2 * 3600
# To standard output: nothing in an archive says where anything is written. lha looks at the
# checksum only when it is asked to.
_UNPACKING = {
    "zstd": [["zstd", "--decompress", "--stdout", "--quiet", "--memory=512MB", "--"]],
    "lha": [["lha", "tq"], ["lha", "pq"]],
}


class QemuImgConverter:
    """The converter of a machine that has qemu-img, zstd and lha."""

    def convert(
        self, source: Path, source_format: str, target: Path, target_format: str, max_bytes: int
    ) -> None:
        """Write `source` to `target` in another format; raises HostError."""
        commands.run(
            [
                "qemu-img",
                "convert",
                "-f",
                qemu_format(source_format),
                "-O",
                qemu_format(target_format),
                *_options(target_format),
                source,
                target,
            ],
            timeout_seconds=TIMEOUT_SECONDS,
            limits=commands.Limits(
                cpu_seconds=CPU_SECONDS,
                address_space_bytes=MEMORY_BYTES,
                file_size_bytes=max_bytes,
            ),
        )

    def unpack(self, source: Path, kind: str, target: Path, max_bytes: int) -> None:
        """Write what is packed in `source` to `target`; raises HostError."""
        for words in _UNPACKING[kind]:
            commands.run(
                [*words, source],
                timeout_seconds=TIMEOUT_SECONDS,
                limits=commands.Limits(
                    cpu_seconds=CPU_SECONDS,
                    address_space_bytes=MEMORY_BYTES,
                    file_size_bytes=max_bytes,
                ),
                output=target,
            )


def _options(disk_format: str) -> list[str]:
    """A vmdk in one file that streams; a dynamic vhd of exactly the disk's size."""
    if disk_format == "vmdk":
        return ["-o", "subformat=streamOptimized"]
    return ["-o", "force_size=on"] if disk_format == "vhd" else []
