"""What the tests of passing devices through share: the machine's devices, nodes, and what they say."""

import json

import fetch
import initramfs
import qemu

# With AMD's on the root bus, where the model tells its requester by its true number.
AMD_VI = ["-device", "amd-iommu,intremap=on"]
# Of 48 bits: UEFI firmware puts wide BARs above 512 GiB. And as QEMU has it by itself, of 39.
VTD = ["-device", "intel-iommu,intremap=on,aw-bits=48"]
VTD_39 = ["-device", "intel-iommu,intremap=on"]
EDU = ["-device", "edu,addr=4,dma_mask=0xffffffffffffffff"]
# QEMU 7.2 keeps devices from things by AMD-Vi, and never says so.
EVENT_LOG_BROKEN = True
SERVERS = ("init", "pmem", "console", "pci", "vmm")
DISTURBANCES = 12


def boot(node, extra, programs=(), **keys):
    """A node without VMs; `programs` are to be kernels of some."""
    manifest = {"vms": [], "on_last_vm_off": "stay", "test_exit_port": 244, **keys}
    modules = [(name, node.program(name)) for name in SERVERS] + [("manifest", json.dumps(manifest).encode())]
    modules += [(name, node.program(name)) for name in programs]
    return node.boot(modules, extra=extra)


def ask(machine, **request):
    reply = machine.ctl(**request)
    assert reply["ok"], (request, reply)
    return reply["result"]


def refusal(machine, **request):
    """Why it is."""
    reply = machine.ctl(**request)
    assert not reply["ok"], (request, reply)
    return reply["error"]


def listed(machine):
    """What the node lists, by address, as soon as it knows."""
    while not (found := ask(machine, command="devices")):
        machine.pause(0.05)
    return {device["address"].removeprefix("0000:"): device for device in found}


def holders(machine):
    return {address: device["holder"] for address, device in listed(machine).items() if device["holder"]}


def settled(machine, name, *states):
    """The VM, in one of these states."""
    while True:
        (vm,) = [vm for vm in ask(machine, command="list") if vm["name"] == name]
        if vm["state"] in states:
            return vm
        machine.pause(0.02)


def idle(name, *devices, **keys):
    """The definition of a VM whose guest does nothing."""
    return json.dumps({"name": name, "memory_mib": 4, "kernel": "guest_idle", "console": "detached",
                       "devices": [{"pci": f"0000:{d}"} for d in devices], **keys})


def linux(*devices, **keys):
    """A VM of the manifest whose guest is Linux."""
    return {"name": "linux", "memory_mib": 192, "kernel": "kernel", "initrd": "initrd", "append": "console=ttyS0 panic=-1",
            "devices": [{"pci": f"0000:{d}"} for d in devices], "on_reset": "stop", "on_crash": "stop", **keys}


def boot_guests(node, extra, command, *vms, test_kill_services_us=0, initrd=None, kernel=fetch.DEFAULT_KERNEL, programs=(), keys=None,
                **options):
    """A node with Linux in these VMs, each of which runs `command` and powers off."""
    manifest = {"vms": vms, "test_exit_port": 244, "test_kill_services_us": test_kill_services_us, **(keys or {})}
    modules = [(name, node.program(name)) for name in (*SERVERS, "vmm_next", *programs)]
    modules += [("manifest", json.dumps(manifest).encode()), ("kernel", fetch.kernel(kernel)),
                ("initrd", initramfs.with_command(initrd or initramfs.base(kernel=kernel), command))]
    log = node.directory / "log"
    options = {"memory": 512, **options}
    return node.boot(modules, arguments=qemu.LOG_OPTION, log=log, extra=extra, **options)


def until_died(machine, deaths):
    """The VMM of `linux` dies so often."""
    ask(machine, command="set", vm="linux", key="test_kill_us", value="20000")
    while settled(machine, "linux", "running", "restarting")["restarts"] < deaths:
        machine.pause(0.05)
    ask(machine, command="set", vm="linux", key="test_kill_us", value="0")


def swap(machine, times=10):
    """The VMM of `linux` is replaced by builds with other layouts of the device state, one after the other."""
    for n in range(times):
        ask(machine, command="vmm-swap", vm="linux", module=("vmm_next", "vmm")[n % 2])
