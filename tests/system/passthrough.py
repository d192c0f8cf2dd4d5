"""Devices that only reach what was granted. Argument: the case, see CASES."""

import json

import harness

# On the root bus, where the model tells its requester by its true number.
IOMMU = ["-device", "amd-iommu,intremap=on"]
EDU = ["-device", "edu,addr=4,dma_mask=0xffffffffffffffff"]
# QEMU 7.2 keeps devices from things, and never says so.
EVENT_LOG_BROKEN = True


def kernel(node):
    """The kernel's Devices and DMA spaces, driven by a program in init's place."""
    with node.boot([("init", node.program("test_dma"))], extra=IOMMU + EDU) as machine:
        node.check_off(machine)
        told = [] if EVENT_LOG_BROKEN else [r"margay: device 0:4\.0 was kept from writing"]
        silent = [r"was kept from"] if EVENT_LOG_BROKEN else []
        harness.check_lines(machine.lines(), [r"1 IOMMU \(AMD-Vi\)", *told, r" 0 failed"], ["FAILED", *silent])


SERVERS = ("init", "pmem", "console", "pci", "vmm")
NVME = ["-drive", "if=none,id=disk,driver=null-co,read-zeroes=on,size=1048576",
        "-device", "nvme,drive=disk,serial=1,addr=8"]
NIC = ["-nic", "none", "-device", "e1000e,addr=9"]
PORT = ["-device", "pcie-root-port,id=below,addr=0x10,chassis=1",
        "-device", "virtio-net-pci,bus=below,disable-legacy=on,iommu_platform=on"]
DISTURBANCES = 12


def _node(node, extra, **keys):
    manifest = {"vms": [], "on_last_vm_off": "stay", "test_exit_port": 244, **keys}
    modules = [(name, node.program(name)) for name in SERVERS] + [("manifest", json.dumps(manifest).encode())]
    return node.boot(modules, extra=extra)


def _ask(machine, **request):
    reply = machine.ctl(**request)
    assert reply["ok"], (request, reply)
    return reply["result"]


def _devices(machine):
    """What the node lists, by address, as soon as it knows."""
    while not (found := _ask(machine, command="devices")):
        machine.pause(0.05)
    return {device["address"].removeprefix("0000:"): device for device in found}


def devices(node):
    """What there is, and what of it can be given, is listed; a pci server that dies changes nothing of it."""
    with _node(node, IOMMU + EDU + NVME + NIC + PORT, test_kill_services_us=30_000) as machine:
        found = _devices(machine)
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
        while _ask(machine, command="nodeinfo")["pci_deaths"] < DISTURBANCES:
            assert {d["address"].removeprefix("0000:"): d for d in _ask(machine, command="devices")} == found
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


def refused(node):
    """Without an IOMMU nothing is given, and a node without the server says that it knows of none."""
    with _node(node, EDU + NVME) as machine:
        found = _devices(machine)
        for device in found.values():
            assert device["iommu"] == "none" and not device["usable"] and device["reason"], device
        nvme = found["00:08.0"]
        assert nvme["reason"] == "there is no IOMMU to confine it", nvme
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


CASES = [kernel, devices, refused]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
