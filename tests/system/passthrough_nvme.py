"""NVMe disks that Debian's kernel drives itself. Argument: the case, see CASES."""

import hashlib
import random
import re

from passthrough_node import AMD_VI, DISTURBANCES, VTD, VTD_39, ask, boot_guests, holders, linux, refusal, settled, swap, until_died

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


def check_image(node, vm=None, command=DISK, meanwhile=lambda machine: None, iommu=AMD_VI, **options):
    """Debian's kernel drives an NVMe disk: what the host wrote it reads, and what it writes the host reads.

    What the guest says, and what the node says.
    """
    pattern = random.Random(1).randbytes(DISK_MIB // 2 << 20)
    disk = node.directory / "disk"
    disk.write_bytes(pattern + bytes(len(pattern)))
    drive = ["-drive", f"if=none,id=disk,format=raw,file={disk}", "-device", "nvme,drive=disk,serial=1,addr=8"]
    with boot_guests(node, iommu + drive, command, linux("00:08.0", **(vm or {})), **options) as machine:
        meanwhile(machine)
        node.check_off(machine)
        output = machine.output.decode(errors="replace")
    assert f"read {hashlib.sha256(pattern).hexdigest()}" in output, output[-3000:]
    assert disk.read_bytes()[len(pattern):] == bytes((b + 1) % 256 for b in pattern)
    return output, (node.directory / "log").read_text(errors="replace")


def nvme(node):
    check_image(node, {"devices": [{"class": "0108"}]})


def nvme_smp(node):
    """With two vCPUs, each with a queue and a message of its own."""
    output, _ = check_image(node, {"cpus": 2}, cores=3)
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


def loaded(node, disturb, vm=None, **options):
    """As check_image(), with `disturb` in the midst of reading. What the node says."""
    def meanwhile(machine):
        machine.expect(r"^loaded\r\n")
        disturb(machine)
        machine.send("enough\n")
    output, log = check_image(node, {"restart_limit": 1_000_000, **(vm or {})}, LOAD, meanwhile, **options)
    assert "misread" not in output and int(re.findall(r"rounds: (\d+)", output)[0]) > 0, output[-3000:]
    return log


def nvme_dies(node):
    """Its VMM dies 100 times; the disk goes on, and no completion is lost."""
    loaded(node, lambda machine: until_died(machine, 100))


def nvme_standby(node):
    loaded(node, lambda machine: until_died(machine, 100), {"standby": True, "cpus": 2}, cores=2)


def nvme_swap(node):
    """Builds with other layouts of the device state take over from each other."""
    loaded(node, swap)


def nvme_vtd_swap(node):
    loaded(node, swap, iommu=VTD)


def _reset(machine):
    for _ in range(2):
        ask(machine, command="reset", vm="linux")
        machine.expect(r"^loaded\r\n")


def nvme_reset(node):
    """Reset in the midst of reading, by the operator: the disk is reset before the memory is used again, and works again."""
    loaded(node, _reset)


def nvme_vtd_reset(node):
    loaded(node, _reset, iommu=VTD)


def nvme_frozen(node):
    """Suspended, and frozen when its VMMs fail: it keeps its disk, which goes on within its memory, and nothing is lost."""
    def freeze(machine):
        ask(machine, command="suspend", vm="linux")
        assert holders(machine) == {"00:08.0": "linux"}
        ask(machine, command="resume", vm="linux")
        ask(machine, command="vmm-swap", vm="linux", module="vmm_faulty")
        settled(machine, "linux", "frozen")
        assert holders(machine) == {"00:08.0": "linux"}
        assert "whose state cannot be saved" in refusal(machine, command="save", vm="linux")
        ask(machine, command="vmm-swap", vm="linux", module="vmm_next")
        settled(machine, "linux", "running")
    dying = {"vmm_options": "every=50 offset=0", "restart_limit": 3, "restart_window_ms": 86400000}
    loaded(node, freeze, dying, programs=["vmm_faulty"])


def nvme_two(node, iommu=AMD_VI):
    """Two VMs with a disk each, at once: each sees its own."""
    patterns = [random.Random(seed).randbytes(DISK_MIB // 2 << 20) for seed in (2, 3)]
    disks, options, vms = [], [*iommu], []
    for i, pattern in enumerate(patterns):
        disks.append(node.directory / f"disk{i}")
        disks[i].write_bytes(pattern + bytes(len(pattern)))
        options += ["-drive", f"if=none,id=disk{i},format=raw,file={disks[i]}",
                    "-device", f"nvme,drive=disk{i},serial={i},addr={8 + i}"]
        vms.append(linux(f"00:0{8 + i}.0", name=f"linux{i}", core=i, memory_mib=128))
    with boot_guests(node, options, DISK, *vms, cores=2) as machine:
        node.check_off(machine)
    # Made of what it has read; what both say comes in one stream.
    for disk, pattern in zip(disks, patterns):
        assert disk.read_bytes()[len(pattern):] == bytes((b + 1) % 256 for b in pattern)


def nvme_vtd_two(node):
    nvme_two(node, VTD)


def nvme_services(node, iommu=AMD_VI):
    """The pci server dies, with the console and pmem: what was given stays given."""
    def wait(machine):
        while ask(machine, command="nodeinfo")["pci_deaths"] < DISTURBANCES:
            assert holders(machine) == {"00:08.0": "linux"}
    loaded(node, wait, iommu=iommu, test_kill_services_us=40_000)


def nvme_vtd_services(node):
    nvme_services(node, VTD)


def nvme_uefi(node):
    check_image(node, uefi=True)


def nvme_vtd(node):
    """Its IOMMU as QEMU has it by itself: tables of three levels."""
    check_image(node, iommu=VTD_39)


def nvme_vtd_uefi(node):
    """With two vCPUs, and BARs above 512 GiB."""
    output, _ = check_image(node, {"cpus": 2}, cores=2, iommu=VTD, uefi=True)
    assert {"0", "1", "2"} <= set(re.findall(r"PCI-MSI.*nvme0q(\d)", output)), output[-3000:]


def nvme_vtd_dies(node):
    loaded(node, lambda machine: until_died(machine, 100), {"standby": True}, iommu=VTD)


# Reads by one vCPU, then by the other, each time when something is typed. Then both read while one of them goes and comes.
DIRECTED = """
set -e
by() { taskset $1 dd if=/dev/nvme0n1 of=/dev/null bs=4k count=400 iflag=direct 2>/dev/null; }
by 1
by 2
for mask in 1 2; do
    echo "next $mask"
    read line </dev/console
    by $mask
done
echo "next none"
cpu=/sys/devices/system/cpu/cpu1/online
touch /tmp/toggles
(
    while [ -e /tmp/toggles ]; do
        echo 0 >$cpu
        echo 1 >$cpu
        echo toggled >>/tmp/toggled
    done
) &
""" + LOAD.replace("wait\n", """rm /tmp/toggles
wait
echo "toggled: $(grep -c toggled /tmp/toggled)"
""", 1)


def nvme_directed(node, iommu=AMD_VI):
    """What the guest has come to a vCPU, that one's core takes; and nothing is lost when it has it come to another one, whatever its
    VMM dies of."""
    taken = []

    def meanwhile(machine):
        for mask in ("1", "2", "none"):
            machine.expect(rf"^next {mask}\r\n")
            taken.append(ask(machine, command="nodeinfo")["device_messages"])
            if mask != "none":
                machine.send("go on\n")
        machine.expect(r"^loaded\r\n")
        until_died(machine, 20)
        machine.send("enough\n")
    output, _ = check_image(node, {"cpus": 2, "core": 0, "restart_limit": 1_000_000}, DIRECTED, meanwhile, cores=2, iommu=iommu)
    assert "misread" not in output and int(re.findall(r"rounds: (\d+)", output)[0]) > 0, output[-3000:]
    assert int(re.findall(r"toggled: (\d+)", output)[0]) > 0, output[-3000:]
    first, second = ([after - before for before, after in zip(*pair)] for pair in zip(taken, taken[1:]))
    print(f"messages that each core took: {first} for the first vCPU, {second} for the second")
    # One for each read, but for those that the driver finds before.
    assert first[0] > 300 and first[1] < 20 and second[1] > 300 and second[0] < 20, taken


def nvme_vtd_directed(node):
    nvme_directed(node, VTD)


CASES = [nvme, nvme_smp, nvme_directed, nvme_vtd_directed, nvme_dies, nvme_standby, nvme_swap, nvme_reset, nvme_frozen, nvme_two, nvme_services, nvme_uefi,
         nvme_vtd, nvme_vtd_uefi, nvme_vtd_dies, nvme_vtd_swap, nvme_vtd_reset, nvme_vtd_two, nvme_vtd_services]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
