"""An IOMMU that confines DMA of devices, and not their interrupts. Argument: amd_vi or vtd."""

import harness
from passthrough import NVME
from passthrough_node import ask, boot, holders, idle, listed, refusal
from passthrough_nvme import check_image

IOMMUS = {"amd_vi": ("AMD-Vi", ["-device", "amd-iommu,intremap=off"]),
          "vtd": ("VT-d", ["-device", "intel-iommu,intremap=off"])}
REASON = "devices: the IOMMU does not remap their interrupts; a VM with allow_no_interrupt_remapping takes them"


def _refused(node, name, iommu):
    with boot(node, iommu + NVME, programs=("guest_idle",)) as machine:
        nvme = listed(machine)["00:08.0"]
        assert (nvme["iommu"], nvme["confines"], nvme["usable"]) == (name, "DMA", True), nvme
        ask(machine, command="define", config=idle("disk", "00:08.0"))
        assert refusal(machine, command="start", vm="disk") == REASON
        ask(machine, command="set", vm="disk", key="allow_no_interrupt_remapping", value="true")
        ask(machine, command="start", vm="disk")
        assert holders(machine) == {"00:08.0": "disk"}
        ask(machine, command="destroy", vm="disk")
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)
        harness.check_lines(machine.lines(), [rf"{name}, .* DMA, but not interrupts, of devices"], [])


def test(node):
    """Refused without the word for it; with it a guest's disk works."""
    name, iommu = IOMMUS[node.arguments[0]]
    _refused(node, name, iommu)
    check_image(node, {"allow_no_interrupt_remapping": True}, iommu=iommu)
