"""PCI devices that `run --device` adds to the emulated machine, and gives to the guest."""

import dataclasses
import pathlib

import common
import fetch

# AMD's model takes the first free slot, and knows devices on the root bus only by their true numbers. Intel's reaches BARs that
# UEFI firmware puts above 512 GiB only with 48 bits.
IOMMUS = {"amd-vi": ("-device", "amd-iommu,intremap=on"), "vtd": ("-device", "intel-iommu,intremap=on,aw-bits=48")}
FIRST_SLOT, MOST = 8, 4  # max_guest_functions of proto/guest_function.hpp
NETWORKS = {"e1000e": "", "virtio-net-pci": ",disable-legacy=on,iommu_platform=on"}


@dataclasses.dataclass
class Device:
    """One, in the slot that its number gives it."""

    address: str  # on the node
    options: list  # for QEMU
    has_reset: bool
    modules: tuple = ()  # of the guest's kernel


def _disk(text, number, slot):
    file = common.readable_file(text, "--device nvme")
    if "," in str(file):
        raise common.Usage(f"--device nvme:{text}: QEMU takes no comma in a file's name here")
    return ["-drive", f"if=none,id=disk{number},format=raw,file={pathlib.Path(file).resolve()}",
            "-device", f"nvme,drive=disk{number},serial=margay{number},addr={slot:#x}"]


def parse(texts):
    """The devices of all --device options."""
    if len(texts) > MOST:
        raise common.Usage(f"--device: a guest has up to {MOST}")
    found = []
    for number, text in enumerate(texts):
        slot = FIRST_SLOT + number
        kind, colon, rest = text.partition(":")
        if kind == "nvme" and rest:
            options = _disk(rest, number, slot)
        elif kind in NETWORKS and not colon:
            options = ["-netdev", f"user,id=net{number}",
                       "-device", f"{kind},netdev=net{number},addr={slot:#x}{NETWORKS[kind]}"]
        else:
            raise common.Usage(f"--device {text}: want nvme:FILE, a disk image, or {' or '.join(NETWORKS)}")
        modules = fetch.NETWORK_MODULES if kind == "virtio-net-pci" else ()
        found.append(Device(f"0000:00:{slot:02x}.0", options, kind == "nvme", modules))
    return found


def qemu_options(devices, iommu):
    """Of a machine with these, and that IOMMU; None: one that they need."""
    if not iommu and not devices:
        return []
    return [*IOMMUS[iommu or "amd-vi"], *(option for device in devices for option in device.options)]


def manifest_keys(devices):
    """For the VM that gets them."""
    if not devices:
        return {}
    keys = {"devices": [{"pci": device.address} for device in devices]}
    return keys if all(device.has_reset for device in devices) else {**keys, "allow_no_reset": True}
