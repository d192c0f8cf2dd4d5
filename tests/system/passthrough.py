"""Devices that only reach what was granted. Argument: the case, see CASES."""

import contextlib
import hashlib
import http.server
import json
import random
import re
import threading

import fetch
import harness
import initramfs
import qemu
import node_define

# With AMD's on the root bus, where the model tells its requester by its true number.
AMD_VI = ["-device", "amd-iommu,intremap=on"]
# Of 48 bits: UEFI firmware puts wide BARs above 512 GiB. And as QEMU has it by itself, of 39.
VTD = ["-device", "intel-iommu,intremap=on,aw-bits=48"]
VTD_39 = ["-device", "intel-iommu,intremap=on"]
EDU = ["-device", "edu,addr=4,dma_mask=0xffffffffffffffff"]
# QEMU 7.2 keeps devices from things, and never says so.
EVENT_LOG_BROKEN = True


def _kernel(node, iommu, name, is_told):
    """The kernel's Devices and DMA spaces, driven by a program in init's place."""
    with node.boot([("init", node.program("test_dma"))], extra=iommu + EDU) as machine:
        node.check_off(machine)
        told = [r"margay: device 0:4\.0 was kept from writing"] if is_told else []
        silent = [] if is_told else [r"was kept from"]
        harness.check_lines(machine.lines(), [rf"1 IOMMU \({name}, ", *told, r" 0 failed"], ["FAILED", *silent])


def kernel(node):
    _kernel(node, AMD_VI, "AMD-Vi", not EVENT_LOG_BROKEN)


def kernel_vtd(node):
    _kernel(node, VTD, "VT-d", True)


def kernel_vtd_39(node):
    _kernel(node, VTD_39, "VT-d", True)


SERVERS = ("init", "pmem", "console", "pci", "vmm")
NVME = ["-drive", "if=none,id=disk,driver=null-co,read-zeroes=on,size=1048576",
        "-device", "nvme,drive=disk,serial=1,addr=8"]
NIC = ["-nic", "none", "-device", "e1000e,addr=9"]
PORT = ["-device", "pcie-root-port,id=below,addr=0x10,chassis=1",
        "-device", "virtio-net-pci,bus=below,disable-legacy=on,iommu_platform=on"]
DISTURBANCES = 12


def _node(node, extra, programs=(), **keys):
    manifest = {"vms": [], "on_last_vm_off": "stay", "test_exit_port": 244, **keys}
    modules = [(name, node.program(name)) for name in SERVERS] + [("manifest", json.dumps(manifest).encode())]
    modules += [("kernel", node.program(name)) for name in programs]
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
    with _node(node, AMD_VI + EDU + NVME + NIC + PORT, test_kill_services_us=30_000) as machine:
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


def devices_vtd(node):
    """Intel's is no function itself, and a bridge that is not of PCI Express hides who is behind it."""
    hidden = ["-device", "pcie-pci-bridge,id=old,addr=0x11", "-device", "edu,bus=old,addr=2"]
    with _node(node, VTD + EDU + NVME + NIC + PORT + hidden) as machine:
        found = _devices(machine)
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
    with _node(node, EDU + NVME + past) as machine:
        found = _devices(machine)
        for device in found.values():
            assert device["iommu"] == "none" and not device["usable"] and device["reason"], device
        assert found["00:0a.0"]["reason"].startswith("its DMA goes past the IOMMU"), found["00:0a.0"]
        nvme = found["00:08.0"]
        assert nvme["reason"] == "there is no IOMMU to confine it", nvme
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


def _idle(name, *devices, **keys):
    return json.dumps({"name": name, "memory_mib": 4, "kernel": "kernel", "console": "detached",
                       "devices": [{"pci": f"0000:{d}"} for d in devices], **keys})


def _holders(machine):
    return {address: device["holder"] for address, device in _devices(machine).items() if device["holder"]}


def _settled(machine, name, *states):
    """The VM, in one of these states."""
    while True:
        (vm,) = [vm for vm in _ask(machine, command="list") if vm["name"] == name]
        if vm["state"] in states:
            return vm
        machine.pause(0.02)


def claims(node):
    """Devices go to a VM with its start, and are nobody's after its end; what is refused, is refused in words. The pci server dies
    all the while."""
    with _node(node, AMD_VI + EDU + NVME + NIC + PORT, programs=("guest_idle",), test_kill_services_us=40_000) as machine:
        _devices(machine)
        # The first VM has the VMM's image looked at, once.
        _ask(machine, command="define", config=_idle("first"))
        for command in ("start", "destroy", "undefine"):
            _ask(machine, command=command, vm="first")
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
            _ask(machine, command="define", config=_idle(name, *devices, **keys))
        for name, reason in (
            ("lan", "device 0000:00:09.0 cannot be given: nothing resets it; a VM with allow_no_reset takes it"),
            ("sata", "device 0000:00:1f.2 cannot be given: others of its group cannot be given with it:"
                     " 0000:00:1f.0 (ISA bridge) 0000:00:1f.3 (SMBus)"),
            ("none", 'devices: the machine has none that is [{"pci":"0000:00:1a.0"}]'),
        ):
            reply = machine.ctl(command="start", vm=name)
            assert not reply["ok"] and reply["error"] == reason, reply
            assert _holders(machine) == {}
        _ask(machine, command="start", vm="disk")
        assert _holders(machine) == {"00:08.0": "disk"}
        reply = machine.ctl(command="start", vm="both")
        assert not reply["ok"] and "is another VM's" in reply["error"], reply
        reply = machine.ctl(command="save", vm="disk")
        assert not reply["ok"] and "whose state cannot be saved" in reply["error"], reply
        _ask(machine, command="reset", vm="disk")
        _ask(machine, command="destroy", vm="disk")
        _ask(machine, command="start", vm="both")
        assert _holders(machine) == {"00:08.0": "both", "00:09.0": "both"}
        _ask(machine, command="destroy", vm="both")
        assert _holders(machine) == {}
        # What may be left in it is the other's.
        reply = machine.ctl(command="start", vm="other")
        assert not reply["ok"] and reply["error"].endswith("nothing resets it, and it was another's before"), reply
        for _ in range(5):
            _ask(machine, command="start", vm="disk")
            _ask(machine, command="destroy", vm="disk")
        for name in ("disk", "both", "lan", "other", "sata", "edu", "none"):
            _ask(machine, command="undefine", vm=name)
        node_define.settle(machine, before)
        # With a VM that has a device the node goes as well.
        _ask(machine, command="define", config=_idle("last", "00:08.0"))
        _ask(machine, command="start", vm="last")
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


# What the guest does with its disk: half of it is a pattern of the host's, which it sums up; the other half it fills.
DISK_MIB = 16
DISK = """
set -e
ls /sys/bus/pci/devices
test -b /dev/nvme0n1
dd if=/dev/nvme0n1 of=/tmp/half bs=1M count=8 iflag=direct 2>/dev/null
echo "read $(sha256sum </tmp/half)"
tr '\\000-\\377' '\\001-\\377\\000' </tmp/half | dd of=/dev/nvme0n1 bs=1M seek=8 oflag=direct iflag=fullblock 2>/dev/null
sync
grep nvme /proc/interrupts
"""


def _linux(*devices, **keys):
    return {"name": "linux", "memory_mib": 192, "kernel": "kernel", "initrd": "initrd", "append": "console=ttyS0 panic=-1",
            "devices": [{"pci": f"0000:{d}"} for d in devices], "on_reset": "stop", "on_crash": "stop", **keys}


def _guest(node, extra, command, *vms, test_kill_services_us=0, initrd=None, **options):
    manifest = {"vms": vms, "test_exit_port": 244, "test_kill_services_us": test_kill_services_us}
    modules = [(name, node.program(name)) for name in (*SERVERS, "vmm_next")]
    modules += [("manifest", json.dumps(manifest).encode()), ("kernel", fetch.kernel()),
                ("initrd", initramfs.with_command(initrd or initramfs.base(), command))]
    log = node.directory / "log"
    return node.boot(modules, arguments=qemu.LOG_OPTION, log=log, extra=extra, memory=512, **options)


def _nvme(node, vm=None, command=DISK, meanwhile=lambda machine: None, iommu=AMD_VI, **options):
    """Debian's kernel drives an NVMe disk: what the host wrote it reads, and what it writes the host reads.

    What the guest says, and what the node says.
    """
    pattern = random.Random(1).randbytes(DISK_MIB // 2 << 20)
    disk = node.directory / "disk"
    disk.write_bytes(pattern + bytes(len(pattern)))
    drive = ["-drive", f"if=none,id=disk,format=raw,file={disk}", "-device", "nvme,drive=disk,serial=1,addr=8"]
    with _guest(node, iommu + drive, command, _linux("00:08.0", **(vm or {})), **options) as machine:
        meanwhile(machine)
        node.check_off(machine)
        output = machine.output.decode(errors="replace")
    assert f"read {hashlib.sha256(pattern).hexdigest()}" in output, output[-3000:]
    assert disk.read_bytes()[len(pattern):] == bytes((b + 1) % 256 for b in pattern)
    return output, (node.directory / "log").read_text(errors="replace")


def nvme(node):
    _nvme(node, {"devices": [{"class": "0108"}]})


def nvme_smp(node):
    """With two vCPUs, each with a queue and a message of its own."""
    output, _ = _nvme(node, {"cpus": 2}, cores=3)
    queues = re.findall(r"PCI-MSI.*nvme0q(\d)", output)
    assert {"0", "1", "2"} <= set(queues), output[-3000:]


# Reads the half again and again until something is typed.
LOAD = """
set -e
sum() { dd if=/dev/nvme0n1 bs=64k count=64 iflag=direct 2>/dev/null | sha256sum; }
first=$(sum)
touch /tmp/goes
(
    n=0
    while again=$(sum); do
        [ "$again" = "$first" ] || echo "misread: $again"
        n=$((n + 1))
        [ -e /tmp/goes ] || break
    done
    echo "rounds: $n"
) &
echo loaded
read line </dev/console
rm /tmp/goes
wait
""" + DISK


def _loaded(node, disturb, vm=None, **options):
    """As _nvme(), with `disturb` in the midst of reading. What the node says."""
    def meanwhile(machine):
        machine.expect(r"^loaded\r\n")
        disturb(machine)
        machine.send("enough\n")
    output, log = _nvme(node, {"restart_limit": 1_000_000, **(vm or {})}, LOAD, meanwhile, **options)
    assert "misread" not in output and int(re.findall(r"rounds: (\d+)", output)[0]) > 0, output[-3000:]
    return log


def _until_died(machine, deaths):
    _ask(machine, command="set", vm="linux", key="test_kill_us", value="20000")
    while _settled(machine, "linux", "running", "restarting")["restarts"] < deaths:
        machine.pause(0.05)
    _ask(machine, command="set", vm="linux", key="test_kill_us", value="0")


def nvme_dies(node):
    """Its VMM dies 100 times; the disk goes on, and no completion is lost."""
    _loaded(node, lambda machine: _until_died(machine, 100))


def nvme_standby(node):
    _loaded(node, lambda machine: _until_died(machine, 100), {"standby": True, "cpus": 2}, cores=2)


def nvme_swap(node):
    """Builds with other layouts of the device state take over from each other."""
    def swap(machine):
        for n in range(10):
            _ask(machine, command="vmm-swap", vm="linux", module=("vmm_next", "vmm")[n % 2])
    _loaded(node, swap)


def nvme_reset(node):
    """Reset in the midst of reading, by the operator: the disk is reset before the memory is used again, and works again."""
    def reset(machine):
        for _ in range(2):
            _ask(machine, command="reset", vm="linux")
            machine.expect(r"^loaded\r\n")
    _loaded(node, reset)


def nvme_two(node):
    """Two VMs with a disk each, at once: each sees its own."""
    patterns = [random.Random(seed).randbytes(DISK_MIB // 2 << 20) for seed in (2, 3)]
    disks, options, vms = [], [*AMD_VI], []
    for i, pattern in enumerate(patterns):
        disks.append(node.directory / f"disk{i}")
        disks[i].write_bytes(pattern + bytes(len(pattern)))
        options += ["-drive", f"if=none,id=disk{i},format=raw,file={disks[i]}",
                    "-device", f"nvme,drive=disk{i},serial={i},addr={8 + i}"]
        vms.append(_linux(f"00:0{8 + i}.0", name=f"linux{i}", core=i, memory_mib=128))
    with _guest(node, options, DISK, *vms, cores=2) as machine:
        node.check_off(machine)
    # Made of what it has read; what both say comes in one stream.
    for disk, pattern in zip(disks, patterns):
        assert disk.read_bytes()[len(pattern):] == bytes((b + 1) % 256 for b in pattern)


def nvme_services(node):
    """The pci server dies, with the console and pmem: what was given stays given."""
    def wait(machine):
        while _ask(machine, command="nodeinfo")["pci_deaths"] < DISTURBANCES:
            assert _holders(machine) == {"00:08.0": "linux"}
    _loaded(node, wait, test_kill_services_us=40_000)


def nvme_uefi(node):
    _nvme(node, uefi=True)


def nvme_vtd(node):
    """Its IOMMU as QEMU has it by itself: tables of three levels."""
    _nvme(node, iommu=VTD_39)


def nvme_vtd_uefi(node):
    """With two vCPUs, and BARs above 512 GiB."""
    output, _ = _nvme(node, {"cpus": 2}, cores=2, iommu=VTD, uefi=True)
    assert {"0", "1", "2"} <= set(re.findall(r"PCI-MSI.*nvme0q(\d)", output)), output[-3000:]


def nvme_vtd_dies(node):
    _loaded(node, lambda machine: _until_died(machine, 100), {"standby": True}, iommu=VTD)


NET_MIB = 64
NET = """
set -e
echo '[ "$1" != bound ] || ip addr add $ip/24 dev $interface' | sed '1i#!/bin/sh' >/tmp/script
chmod +x /tmp/script
ip link set eth0 up
udhcpc -i eth0 -n -q -s /tmp/script
wget -q -O - http://10.0.2.2:%d/file | sha256sum | sed 's/^/got /'
grep virtio /proc/interrupts
"""


@contextlib.contextmanager
def _server(content):
    """The port of an HTTP server that has that only."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


def _virtio(node, extra, address, cores=1, **vm):
    """A network adapter by virtio: an address by DHCP, and 64 MiB by HTTP."""
    content = random.Random(4).randbytes(NET_MIB << 20)
    initrd = initramfs.with_modules(initramfs.base(), fetch.NETWORK_MODULES)
    with _server(content) as port:
        guest = _linux(address, **vm)
        with _guest(node, extra, NET % port, guest, initrd=initrd, cores=cores) as machine:
            node.check_off(machine)
            output = machine.output.decode(errors="replace")
    assert f"got {hashlib.sha256(content).hexdigest()}" in output, output[-3000:]


ADAPTER = "virtio-net-pci,netdev=net,disable-legacy=on,iommu_platform=on"


def virtio(node):
    """On the root bus, where nothing resets it."""
    _virtio(node, [*AMD_VI, "-netdev", "user,id=net", "-device", f"{ADAPTER},addr=9"], "00:09.0", allow_no_reset=True)


def virtio_vtd(node):
    """Behind a port of its own, which resets it."""
    port = ["-device", "pcie-root-port,id=below,addr=0x10,chassis=1"]
    _virtio(node, [*VTD, *port, "-netdev", "user,id=net", "-device", f"{ADAPTER},bus=below"], "01:00.0", cpus=2, cores=2)


CASES = [virtio, virtio_vtd, kernel, kernel_vtd, kernel_vtd_39, devices, refused, claims, nvme, nvme_smp, nvme_dies, nvme_standby, nvme_swap, nvme_reset,
         nvme_two, nvme_services, nvme_uefi,
         nvme_vtd, nvme_vtd_uefi, nvme_vtd_dies, devices_vtd]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
