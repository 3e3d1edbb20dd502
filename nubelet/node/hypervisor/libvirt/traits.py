"""What a host can do, in the standard names of os-traits."""

from __future__ import annotations

from xml.etree import ElementTree as ET

# What the libvirt driver does on every host.
_ALWAYS = {
    "COMPUTE_NODE",
    "COMPUTE_DEVICE_TAGGING",
    "COMPUTE_NET_ATTACH_INTERFACE",
    "COMPUTE_ARCH_X86_64",
    "HW_ARCH_X86_64",
    "COMPUTE_FIRMWARE_BIOS",
    "COMPUTE_SECURITY_STATELESS_FIRMWARE",
    "COMPUTE_STORAGE_BUS_VIRTIO",
    "COMPUTE_NET_VIF_MODEL_VIRTIO",
    "COMPUTE_NET_VIF_MODEL_E1000",
    "COMPUTE_NET_VIF_MODEL_E1000E",
    "COMPUTE_NET_VIF_MODEL_RTL8139",
    *(
        f"COMPUTE_IMAGE_TYPE_{kind}"
        for kind in ("AKI", "AMI", "ARI", "ISO", "QCOW2", "RAW", "VDI", "VHD", "VHDX", "VMDK")
    ),
}
# libvirt's names that differ from the trait's by more than case and punctuation.
_CPU_NAMES = {
    "aes": ("AESNI",),
    "bmi1": ("BMI",),
    "fma": ("FMA3",),
    "gfni": ("AVX512GFNI",),
    "hle": ("TSX",),
    "ibpb": ("AMD_IBPB",),
    "md-clear": ("INTEL_MD_CLEAR",),
    "pcid": ("INTEL_PCID",),
    "pclmuldq": ("CLMUL",),
    "pclmulqdq": ("CLMUL",),
    "pni": ("SSE3",),
    "rtm": ("TSX",),
    "sha-ni": ("SHA",),
    "spec-ctrl": ("INTEL_SPEC_CTRL",),
    "svm": ("SVM", "AMD_SVM"),
    "vaes": ("AVX512VAES",),
    "vmx": ("VMX", "INTEL_VMX"),
    "vpclmulqdq": ("AVX512VPCLMULQDQ",),
}
_CPU_PREFIX = "HW_CPU_X86_"


def cpu_traits(features: tuple[str, ...]) -> set[str]:
    """Traits of the CPU features that guests get."""
    known = _known_traits()
    plain = {
        trait.removeprefix(_CPU_PREFIX).replace("_", ""): trait
        for trait in known
        if trait.startswith(_CPU_PREFIX)
    }
    found: set[str] = set()
    for feature in features:
        names = _CPU_NAMES.get(feature)
        if names is None:
            letters = "".join(filter(str.isalnum, feature)).upper()
            names = (plain[letters].removeprefix(_CPU_PREFIX),) if letters in plain else ()
        found.update(_CPU_PREFIX + name for name in names)
    return found & known


def device_traits(capabilities: ET.Element) -> set[str]:
    """Traits of the devices that libvirt's domain capabilities list."""
    groups = (
        ("devices/video/enum[@name='modelType']/value", "COMPUTE_GRAPHICS_MODEL_"),
        ("devices/disk/enum[@name='bus']/value", "COMPUTE_STORAGE_BUS_"),
    )
    found = set(_ALWAYS)
    for path, prefix in groups:
        found.update(prefix + (value.text or "").upper() for value in capabilities.iterfind(path))
    for value in capabilities.iterfind("os/enum[@name='firmware']/value"):
        if value.text == "efi":
            found.add("COMPUTE_FIRMWARE_UEFI")
    return found & _known_traits()


def _known_traits() -> set[str]:
    import os_traits  # here: it loads some forty modules

    return set(os_traits.get_traits())
