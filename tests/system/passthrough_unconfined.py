"""An IOMMU that confines DMA of devices, and not their interrupts. Argument: amd_vi or vtd."""

import passthrough

IOMMUS = {"amd_vi": ("AMD-Vi", ["-device", "amd-iommu,intremap=off"]),
          "vtd": ("VT-d", ["-device", "intel-iommu,intremap=off"])}
REASON = ("devices: the IOMMU does not remap their interrupts; a VM with allow_no_interrupt_remapping takes them")


def _refused(node, name, iommu):
    with passthrough._node(node, iommu + passthrough.NVME, programs=("guest_idle",)) as machine:
        nvme = passthrough._devices(machine)["00:08.0"]
        assert (nvme["iommu"], nvme["confines"], nvme["usable"]) == (name, "DMA", True), nvme
        passthrough._ask(machine, command="define", config=passthrough._idle("disk", "00:08.0"))
        reply = machine.ctl(command="start", vm="disk")
        assert not reply["ok"] and reply["error"] == REASON, reply
        passthrough._ask(machine, command="set", vm="disk", key="allow_no_interrupt_remapping", value="true")
        passthrough._ask(machine, command="start", vm="disk")
        assert passthrough._holders(machine) == {"00:08.0": "disk"}
        passthrough._ask(machine, command="destroy", vm="disk")
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)
        passthrough.harness.check_lines(machine.lines(), [rf"{name}, .* DMA, but not interrupts, of devices"], [])


def test(node):
    """Refused without the word for it; with it a guest's disk works."""
    name, iommu = IOMMUS[node.arguments[0]]
    _refused(node, name, iommu)
    passthrough._nvme(node, {"allow_no_interrupt_remapping": True}, iommu=iommu)
