"""Kernel modules: pick drivers with what they need, and write the index `modprobe` reads.

A kernel package that was never installed has no modules.dep; depmod would be one tool more.
Each module names its needs and the devices it serves in its `.modinfo` section, as NUL-ended
`key=value` strings, which is all there is to know. Next to read: system.py.
"""

from collections.abc import Iterable
from pathlib import Path

from nubelet.guest.artefacts import GuestBuildError
from nubelet.guest.tree import Tree

DISK_DRIVERS = (
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "ata_piix",
    "sd_mod",
    "sr_mod",
    "virtio_mmio",
)
"""What the root disk may hang on, for the initrd of a guest that boots from disk."""

OTHER_DRIVERS = (
    "virtio_net",
    "virtio_balloon",
    "virtio_console",
    "virtio-rng",
    "virtio_input",
    "virtiofs",
    "evdev",
    "button",
    "isofs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_utf8",
    "nls_iso8859-1",
    "loop",
    "8021q",
    "tun",
    "dummy",
    "pvpanic-pci",
)


class ModuleCollection:
    """All modules of one unpacked kernel package."""

    def __init__(self, modules_dir: Path) -> None:
        """Look through `modules_dir` (…/lib/modules/RELEASE)."""
        self._modules_dir = modules_dir
        self._paths = {_plain(path.stem): path for path in sorted(modules_dir.rglob("*.ko"))}

    @property
    def release(self) -> str:
        """The kernel release the modules belong to."""
        return self._modules_dir.name

    def with_dependencies(self, names: Iterable[str]) -> list[str]:
        """Return the modules (plain names) that `names` need, themselves included.

        A name that is no module is looked for among what is built into the kernel;
        `GuestBuildError` when it is there neither.
        """
        built_in = (self._modules_dir / "modules.builtin").read_text(encoding="utf-8")
        present = {_plain(Path(line).stem) for line in built_in.splitlines()}
        found: dict[str, None] = {}
        waiting = [_plain(name) for name in names]
        while waiting:
            name = waiting.pop()
            if name in found or name in present:
                continue
            if name not in self._paths:
                raise GuestBuildError(f"the kernel {self.release} has no driver {name}")
            found[name] = None
            waiting.extend(self._needs(name))
        return sorted(found)

    def add_to(self, tree: Tree, names: Iterable[str]) -> None:
        """Put the modules and their index into `tree`, below usr/lib/modules/RELEASE."""
        chosen = self.with_dependencies(names)
        folder = f"usr/lib/modules/{self.release}"
        dependency_lines: list[str] = []
        alias_lines: list[str] = []
        for name in chosen:
            path = self._paths[name]
            tree.add_file(f"{folder}/{path.name}", path.read_bytes())
            # Every need of the needs too, nearest first: modprobe loads the line from its end.
            needs = [self._paths[need].name for need in self._all_needs(name)]
            dependency_lines.append(f"{path.name}:{''.join(' ' + need for need in needs)}\n")
            alias_lines.extend(f"alias {alias} {name}\n" for alias in _info(path, "alias"))
        tree.add_file(f"{folder}/modules.dep", "".join(dependency_lines).encode())
        tree.add_file(f"{folder}/modules.alias", "".join(alias_lines).encode())
        tree.add_file(f"{folder}/modules.symbols", b"")
        tree.add_file(
            f"{folder}/modules.builtin", (self._modules_dir / "modules.builtin").read_bytes()
        )

    def _needs(self, name: str) -> list[str]:
        lines = _info(self._paths[name], "depends")
        return [_plain(need) for line in lines for need in line.split(",") if need]

    def _all_needs(self, name: str) -> list[str]:
        order: list[str] = []
        for need in self._needs(name):
            for deeper in (need, *self._all_needs(need)):
                if deeper in order:
                    order.remove(deeper)
                order.append(deeper)
        return order


def _plain(name: str) -> str:
    """Module names are written with dashes and underscores alike; the kernel knows underscores."""
    return name.replace("-", "_")


def _info(path: Path, key: str) -> list[str]:
    """Read the values of `key` in the module's information strings."""
    mark = b"\0" + key.encode() + b"="
    data = path.read_bytes()
    values: list[str] = []
    position = data.find(mark)
    while position != -1:
        end = data.index(b"\0", position + 1)
        values.append(data[position + len(mark) : end].decode("ascii", "replace"))
        position = data.find(mark, end)
    return values
