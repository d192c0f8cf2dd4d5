"""Devices that only reach what was granted: the kernel's part, what a node lists, and who has what. Argument: the case, see CASES."""

import node_define
import harness
from passthrough_node import AMD_VI, DISTURBANCES, EDU, EVENT_LOG_BROKEN, VTD, VTD_39, ask, boot, holders, idle, listed, refusal

NVME = ["-drive", "if=none,id=disk,driver=null-co,read-zeroes=on,size=1048576",
        "-device", "nvme,drive=disk,serial=1,addr=8"]
NIC = ["-nic", "none", "-device", "e1000e,addr=9"]
PORT = ["-device", "pcie-root-port,id=below,addr=0x10,chassis=1",
        "-device", "virtio-net-pci,bus=below,disable-legacy=on,iommu_platform=on"]


def _kernel(node, iommu, name, is_told):
    """The kernel's Devices and DMA spaces, driven by a program in init's place."""
    with node.boot([("init", node.program("test_dma"))], extra=iommu + EDU, cores=3) as machine:
        node.check_off(machine)
        told = [r"margay: device 0:4\.0 was kept from writing"] if is_told else []
        silent = [] if is_told else [r"was kept from"]
        harness.check_lines(machine.lines(), [rf"1 IOMMU \({name}, ", *told, r"300 of 300 messages came", r" 0 failed"], ["FAILED", *silent])


def kernel(node):
    _kernel(node, AMD_VI, "AMD-Vi", not EVENT_LOG_BROKEN)


def kernel_vtd(node):
    _kernel(node, VTD, "VT-d", True)


def kernel_vtd_39(node):
    _kernel(node, VTD_39, "VT-d", True)


def devices(node):
    """What there is, and what of it can be given, is listed; a pci server that dies changes nothing of it."""
    with boot(node, AMD_VI + EDU + NVME + NIC + PORT, test_kill_services_us=30_000) as machine:
        found = listed(machine)
        wanted = {
            "00:00.0": ("8086:29c0", "none", "it is a part of the machine itself"),
            "00:08.0": ("1b36:0010", "FLR", ""),
            "00:09.0": ("8086:10d3", "none", ""),
            "00:04.0": ("1234:11e8", "none", ""),
            "00:10.0": ("1b36:000c", "none", "it is a bridge"),
            "00:1f.0": ("8086:2918", "none", "it is a part of the machine itself"),
            "00:1f.2": ("8086:2922", "none", "others of its group cannot be given with it"),
            "01:00.0": ("1af4:1041", "FLR", ""),
        }
        for address, (name, reset, reason) in wanted.items():
            device = found[address]
            assert f"{device['vendor']}:{device['device']}".startswith(name), device
            assert (device["reset"], device["reason"], device["usable"]) == (reset, reason, not reason), device
            assert (device["iommu"], device["holder"]) == ("AMD-Vi", ""), device
        iommu = [d for d in found.values() if d["class"] == "080600"]
        assert [d["reason"] for d in iommu] == ["it is a part of the machine itself"], iommu
        assert found["00:1f.0"]["group"] == found["00:1f.2"]["group"] == found["00:1f.3"]["group"]
        alone = ("00:08.0", "00:09.0", "00:04.0", "01:00.0")
        assert len({found[address]["group"] for address in alone}) == len(alone), found
        while ask(machine, command="nodeinfo")["pci_deaths"] < DISTURBANCES:
            assert {d["address"].removeprefix("0000:"): d for d in ask(machine, command="devices")} == found
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


def devices_vtd(node):
    """Intel's is no function itself, and a bridge that is not of PCI Express hides who is behind it."""
    hidden = ["-device", "pcie-pci-bridge,id=old,addr=0x11", "-device", "edu,bus=old,addr=2"]
    with boot(node, VTD + EDU + NVME + NIC + PORT + hidden) as machine:
        found = listed(machine)
        assert {d["iommu"] for d in found.values()} == {"VT-d"}, found
        assert not [d for d in found.values() if d["class"] == "080600"], found
        for address in ("00:04.0", "00:08.0", "00:09.0", "01:00.0"):
            assert found[address]["usable"] and found[address]["reason"] == "", found[address]
        (edu,) = [d for a, d in found.items() if a.endswith(":02.0")]
        assert not edu["usable"] and edu["reason"] == "its transactions appear under a bridge's name", edu
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


def refused(node):
    """Without an IOMMU nothing is given, and a node without the server says that it knows of none."""
    past = ["-device", "virtio-net-pci,addr=0xa"]
    with boot(node, EDU + NVME + past) as machine:
        found = listed(machine)
        for device in found.values():
            assert device["iommu"] == "none" and not device["usable"] and device["reason"], device
        assert found["00:0a.0"]["reason"].startswith("its DMA goes past the IOMMU"), found["00:0a.0"]
        nvme = found["00:08.0"]
        assert nvme["reason"] == "there is no IOMMU to confine it", nvme
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


def claims(node):
    """Devices go to a VM with its start, and are nobody's after its end; what is refused, is refused in words. The pci server dies
    all the while."""
    with boot(node, AMD_VI + EDU + NVME + NIC + PORT, programs=("guest_idle",), test_kill_services_us=40_000) as machine:
        listed(machine)
        # The first VM has the VMM's image looked at, once.
        ask(machine, command="define", config=idle("first"))
        for command in ("start", "destroy", "undefine"):
            ask(machine, command=command, vm="first")
        before = node_define.in_use_at_rest(machine)
        for name, devices, keys in (
            ("disk", ["00:08.0"], {}),
            ("both", ["00:08.0", "00:09.0"], {"allow_no_reset": True}),
            ("lan", ["00:09.0"], {}),
            ("other", ["00:09.0"], {"allow_no_reset": True}),
            ("sata", ["00:1f.2"], {}),
            ("edu", ["00:04.0"], {}),
            ("none", ["00:1a.0"], {}),
        ):
            ask(machine, command="define", config=idle(name, *devices, **keys))
        for name, reason in (
            ("lan", "device 0000:00:09.0 cannot be given: nothing resets it; a VM with allow_no_reset takes it"),
            ("sata", "device 0000:00:1f.2 cannot be given: others of its group cannot be given with it:"
                     " 0000:00:1f.0 (ISA bridge) 0000:00:1f.3 (SMBus)"),
            ("none", 'devices: the machine has none that is [{"pci":"0000:00:1a.0"}]'),
        ):
            reply = machine.ctl(command="start", vm=name)
            assert not reply["ok"] and reply["error"] == reason, reply
            assert holders(machine) == {}
        ask(machine, command="start", vm="disk")
        assert holders(machine) == {"00:08.0": "disk"}
        reply = machine.ctl(command="start", vm="both")
        assert not reply["ok"] and "is another VM's" in reply["error"], reply
        reply = machine.ctl(command="save", vm="disk")
        assert not reply["ok"] and "whose state cannot be saved" in reply["error"], reply
        ask(machine, command="reset", vm="disk")
        ask(machine, command="destroy", vm="disk")
        ask(machine, command="start", vm="both")
        assert holders(machine) == {"00:08.0": "both", "00:09.0": "both"}
        ask(machine, command="destroy", vm="both")
        assert holders(machine) == {}
        # What may be left in it is the other's.
        reply = machine.ctl(command="start", vm="other")
        assert not reply["ok"] and reply["error"].endswith("nothing resets it, and it was another's before"), reply
        for _ in range(5):
            ask(machine, command="start", vm="disk")
            ask(machine, command="destroy", vm="disk")
        for name in ("disk", "both", "lan", "other", "sata", "edu", "none"):
            ask(machine, command="undefine", vm=name)
        node_define.settle(machine, before)
        # With a VM that has a device the node goes as well.
        ask(machine, command="define", config=idle("last", "00:08.0"))
        ask(machine, command="start", vm="last")
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


def functions_vtd(node):
    """Two functions of one device reach each other: they go to one VM together. Neither can be reset without the other."""
    both = ["-nic", "none", "-device", "pcie-root-port,id=below,addr=0x10,chassis=1",
            "-device", "e1000e,bus=below,addr=0.0,multifunction=on", "-device", "e1000e,bus=below,addr=0.1"]
    with boot(node, VTD + both, programs=("guest_idle",)) as machine:
        found = listed(machine)
        functions = ("01:00.0", "01:00.1")
        assert len({found[address]["group"] for address in functions}) == 1, found
        assert {found[address]["reset"] for address in functions} == {"none"}, found
        for name, devices in (("one", functions[:1]), ("two", functions[1:]), ("both", functions), ("again", functions)):
            ask(machine, command="define", config=idle(name, *devices, allow_no_reset=True))
        other = "others of its group cannot be given with it: 0000:01:00.{} (Ethernet)"
        for name, own in (("one", 0), ("two", 1)):
            reason = refusal(machine, command="start", vm=name)
            assert reason == f"device 0000:01:00.{own} cannot be given: {other.format(1 - own)}", reason
            assert holders(machine) == {}
        ask(machine, command="start", vm="both")
        assert holders(machine) == {address: "both" for address in functions}
        for name in ("one", "two"):
            reason = refusal(machine, command="start", vm=name)
            assert "is another VM's" in reason, reason
        ask(machine, command="destroy", vm="both")
        reason = refusal(machine, command="start", vm="again")
        assert reason.endswith("nothing resets it, and it was another's before"), reason
        ask(machine, command="start", vm="both")
        ask(machine, command="destroy", vm="both")
        for name in ("one", "two", "both", "again"):
            ask(machine, command="undefine", vm=name)
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


CASES = [kernel, kernel_vtd, kernel_vtd_39, devices, devices_vtd, refused, claims, functions_vtd]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
