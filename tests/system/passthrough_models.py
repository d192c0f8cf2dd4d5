"""What a guest's function is made of, driven by drivers as Debian has them. Argument: the case, see CASES."""

import hashlib
import random
import re

import fetch
import initramfs
import passthrough_nvme
from passthrough_node import AMD_VI, VTD, ask, boot, boot_guests, idle, linux, listed, refusal, swap, until_died
from passthrough_nvme import check_image, loaded

HALF = 8 << 20
# A SATA controller: MSI with one message, no MSI-X. The disk's first half is read, its second written.
SATA = "ich9-ahci,id=sata"
DISK = passthrough_nvme.DISK.replace("nvme0n1", "sda").replace("nvme", "ahci")
# What it was told to wait for has happened.
AGAIN = DISK.replace("sync", "echo loaded; read line </dev/console; sync").replace("grep", """dd if=/dev/sda bs=1M count=8 \
iflag=direct 2>/dev/null | sha256sum | sed 's/^/again /'
grep""")
ADAPTER = ["-nic", "none", "-netdev", "user,id=net", "-device", "e1000e,netdev=net,addr=9"]


# Debian's general kernel needs more.
GUEST = {"memory_mib": 256}


def _boot(node, extra, command, vm, initrd=None, **options):
    return boot_guests(node, extra, command, vm, initrd=initrd, kernel=fetch.GENERAL_KERNEL, memory=640, **options)


def _sata(node, extra, place, address, command=DISK, meanwhile=lambda machine: None, options=None, **vm):
    """What the host wrote the guest reads, and what it writes the host reads. What the guest says."""
    pattern = random.Random(6).randbytes(HALF)
    disk = node.directory / "disk"
    disk.write_bytes(pattern + bytes(HALF))
    drive = ["-device", f"{SATA},{place}", "-drive", f"if=none,id=disk,format=raw,file={disk}",
             "-device", "ide-hd,drive=disk,bus=sata.0"]
    initrd = initramfs.with_modules(initramfs.base(kernel=fetch.GENERAL_KERNEL), fetch.SATA_MODULES, fetch.GENERAL_KERNEL)
    guest = linux(address, **GUEST, **vm)
    with _boot(node, extra + drive, command, guest, initrd=initrd, **(options or {})) as machine:
        meanwhile(machine)
        node.check_off(machine)
        output = machine.output.decode(errors="replace")
    for word in ("read", "again") if "again" in command else ("read",):
        assert f"{word} {hashlib.sha256(pattern).hexdigest()}" in output, output[-3000:]
    assert disk.read_bytes()[HALF:] == bytes((b + 1) % 256 for b in pattern)
    return output


def _interrupts(output, kind, name):
    """How often, by line of /proc/interrupts."""
    return [sum(map(int, counts.split())) for counts in re.findall(rf"^ *\d+: +((?:\d+ +)+).*{kind}.*{name}", output, re.MULTILINE)]


def msi(node):
    """A single message, at an address that the driver writes into the capability."""
    (count,) = _interrupts(_sata(node, AMD_VI, "addr=9", "00:09.0", allow_no_reset=True), "PCI-MSI", "ahci")
    assert count > 10, count


def msi_vtd(node):
    """With two vCPUs; builds with other layouts of the device state take over from each other."""
    def disturb(machine):
        machine.expect(r"^loaded")
        swap(machine, 4)
        machine.send("enough\n")

    output = _sata(node, VTD, "addr=9", "00:09.0", AGAIN, disturb, {"cores": 2}, cpus=2, allow_no_reset=True)
    (count,) = _interrupts(output, "PCI-MSI", "ahci")
    assert count > 20, count


# IOADDR and IODATA, in the adapter's BAR of 32 ports: the first half of its address, read twice, and what lies behind them.
PORTS = """
set -e
cd /sys/bus/pci/devices/0000:00:02.0
echo 1 >enable
printf '\\000\\124\\000\\000' | dd of=resource2 bs=4 conv=notrunc 2>/dev/null
echo "by port:$(dd if=resource2 bs=4 skip=1 count=1 2>/dev/null | od -An -tx4)"
first=$((0x$(sed -n 3p resource | cut -c 3-18)))
echo "by address:$(dd if=/dev/port bs=1 skip=$((first + 4)) count=1 2>/dev/null | od -An -tx1)"
echo "behind them:$(dd if=/dev/port bs=1 skip=$((first + 32)) count=1 2>/dev/null | od -An -tx1)"
"""


def ports(node):
    with _boot(node, AMD_VI + ADAPTER, PORTS, linux("00:09.0", **GUEST, allow_no_reset=True)) as machine:
        node.check_off(machine)
        output = machine.output.decode(errors="replace")
    for line in ("by port: 12005452", "by address: 52", "behind them: ff"):
        assert line in output, output[-3000:]


def window(node):
    """What has 64 bits goes above RAM, where a guest puts it by itself."""
    command = passthrough_nvme.DISK + "echo disk at $(head -n 1 /sys/bus/pci/devices/0000:00:02.0/resource)\n"
    output, _ = check_image(node, {"devices": [{"class": "0108"}]}, command)
    (at,) = re.findall(r"^disk at (0x[0-9a-f]+) ", output, re.MULTILINE)
    assert int(at, 16) >= 4 << 30, output[-3000:]


NO_MESSAGES = {"append": "console=ttyS0 panic=-1 pci=nomsi", "line_interrupts": True}


def line(node, extra=()):
    output, _ = check_image(node, {**NO_MESSAGES, "cpus": 2}, iommu=[*AMD_VI, *extra], cores=3)
    (count,) = _interrupts(output, "IO-APIC +16-fasteoi", "nvme")
    # A line that is let in before it was served, or not seen to fall, would come without end.
    assert 10 < count < 2000 and "PCI-MSI" not in output, output[-3000:]


def line_old_io_apic(node):
    """One without a register that completes an input: what the IOMMU has made an edge of is completed otherwise."""
    line(node, ["-global", "ioapic.version=0x11"])


def line_dies(node):
    """VMMs die with the line asserted, masked, acknowledged or not: it goes on."""
    loaded(node, lambda machine: until_died(machine, 60), NO_MESSAGES, iommu=VTD)


def line_refused(node):
    """Two functions with one line go to one VM, or interrupt otherwise; so does one that has it in common with the node."""
    disks = [option for slot in (8, 12) for option in
             ("-drive", f"if=none,id=disk{slot},driver=null-co,read-zeroes=on,size=1048576",
              "-device", f"nvme,drive=disk{slot},serial={slot},msix_qsize=8,addr={slot:#x}")]
    port = ["-device", "pcie-root-port,id=below,addr=0x11,chassis=1"]
    edu = ["-device", "edu,addr=5"]
    with boot(node, AMD_VI + disks + port + edu, programs=("guest_idle",)) as machine:
        listed(machine)
        for name, devices, keys in (
            ("one", ["00:08.0"], {"line_interrupts": True}),
            ("two", ["00:0c.0"], {"line_interrupts": True}),
            ("messages", ["00:0c.0"], {}),
            ("both", ["00:08.0", "00:0c.0"], {"line_interrupts": True}),
            ("edu", ["00:05.0"], {"line_interrupts": True, "allow_no_reset": True}),
        ):
            ask(machine, command="define", config=idle(name, *devices, **keys))

        def refused(name, reason):
            assert refusal(machine, command="start", vm=name) == reason

        ask(machine, command="start", vm="one")
        refused("two", "device 0000:00:0c.0 cannot be given: it shares its interrupt line with functions of another:"
                       " 0000:00:08.0 (NVMe)")
        ask(machine, command="start", vm="messages")
        for name in ("messages", "one"):
            ask(machine, command="destroy", vm=name)
        ask(machine, command="start", vm="both")
        ask(machine, command="destroy", vm="both")
        refused("edu", "device 0000:00:05.0 cannot be given: it shares its interrupt line with functions of another:"
                       " 0000:00:11.0 (PCI bridge)")
        for name in ("one", "two", "messages", "both", "edu"):
            ask(machine, command="undefine", vm=name)
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


CASES = [msi, msi_vtd, ports, window, line, line_old_io_apic, line_dies, line_refused]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
