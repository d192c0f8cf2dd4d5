"""Guests that end while their disk writes into their memory. Argument: the case, see CASES."""

import hashlib
import random
import re

import fetch
import initramfs
import libraries
from passthrough_node import AMD_VI, VTD, ask, boot_guests, holders, linux, settled

PATTERN_MIB = 8
APPEND = "console=ttyS0 quiet panic=-1"

# Which step it is stands on the disk, as all else is gone. Each begins with the sum of the pattern, and goes with reads under way.
STEPS = """
set -e
sum() { dd if=/dev/nvme0n1 bs=1M count=8 iflag=direct 2>/dev/null | sha256sum | cut -c1-64; }
end_by() { echo $1 >/sys/kernel/reboot/type; echo b >/proc/sysrq-trigger; }
step=$(dd if=/dev/nvme0n1 bs=4k skip=2048 count=1 iflag=direct 2>/dev/null | head -n 1)
echo "step $step: $(sum)"
{ echo $((step + 1)); cat /dev/zero; } | dd of=/dev/nvme0n1 bs=4k seek=2048 count=1 oflag=direct iflag=fullblock 2>/dev/null
for i in 1 2 3 4; do
    while :; do dd if=/dev/nvme0n1 of=/dev/null bs=1M count=8 iflag=direct 2>/dev/null; done &
done
while :; do dd if=/dev/urandom of=/dev/nvme0n1 bs=256k seek=40 count=8 oflag=direct 2>/dev/null; done &
sleep 0.3
case $step in
%s
esac
kill $(jobs -p) 2>/dev/null || true
"""


def _disk(node, *options):
    """A disk with a pattern and the number of the first step. The pattern, and what QEMU is told."""
    pattern = random.Random(5).randbytes(PATTERN_MIB << 20)
    file = node.directory / "disk"
    file.write_bytes(pattern + b"0\n" + bytes((PATTERN_MIB << 20) - 2))
    drive = ",".join(["if=none", "id=disk", "format=raw", f"file={file}", *options])
    return pattern, ["-drive", drive, "-device", "nvme,drive=disk,serial=1,addr=8"]


def _steps(node, iommu, ways, anew, initrd=None, **options):
    """A guest goes through all of `ways` to end; the last step ends by itself. The node has started it `anew` times."""
    command = STEPS % "\n".join(f"{i}) {way} ; sleep 1000 ;;" for i, way in enumerate(ways))
    pattern, drive = _disk(node)
    keys = {"append": APPEND, "on_reset": "restart", "on_crash": "restart", "restart_limit": 100, **options.pop("vm", {})}
    vm = linux("00:08.0", **keys)
    # The kernels that it starts by itself have the command as well.
    initrd = initrd and initrd(command)
    with boot_guests(node, iommu + drive, command, vm, initrd=initrd, **options) as machine:
        node.check_off(machine)
        output = machine.output.decode(errors="replace")
    log = (node.directory / "log").read_text(errors="replace")
    wanted = hashlib.sha256(pattern).hexdigest()
    found = re.findall(r"^step (\d+): (\w+)\r?$", output, re.MULTILINE)
    assert found == [(str(i), wanted) for i in range(len(ways) + 1)], (found, output[-2000:])
    assert len(re.findall(r"guest linux ended after \d+ exits and is started anew", output + log)) == anew, log[-3000:]


# The register that ACPI names, the keyboard controller, port CF9h, a triple fault; a panic; and a driver that was told before.
RESETS = ["end_by acpi", "end_by kbd", "end_by pci", "end_by triple", "echo c >/proc/sysrq-trigger", "reboot -f"]


def reboots(node):
    """It resets itself: its disk is reset before its memory is used again, and works."""
    _steps(node, AMD_VI, RESETS, len(RESETS))


def reboots_vtd(node):
    _steps(node, VTD, RESETS, len(RESETS), vm={"cpus": 2}, cores=2)


def _with_kexec(command):
    files = libraries.closure(fetch.kexec_tools(), ("sbin/kexec",))
    second = initramfs.with_command(initramfs.with_files(initramfs.base(), files), command)
    return initramfs.with_files(second, {"boot/vmlinuz": fetch.kernel().read_bytes(), "boot/initrd": second})


def kernels(node):
    """It starts another kernel by itself, in an orderly way and by a panic: nobody resets the disk but that kernel's driver."""
    load = "kexec {} /boot/vmlinuz --initrd=/boot/initrd --command-line='{}{}'"
    ways = [load.format("-c -l", APPEND, "") + "; kexec -e", "end_by acpi",
            load.format("-p", APPEND, " irqpoll nr_cpus=1 reset_devices") + "; echo c >/proc/sysrq-trigger"]
    _steps(node, AMD_VI, ways, 1, _with_kexec, vm={"memory_mib": 512, "append": APPEND + " crashkernel=192M"}, memory=1024)


# On a disk that takes half a second for each.
IN_FLIGHT = """
for i in 0 1 2 3 4 5 6 7; do
    while :; do dd if=/dev/nvme0n1 of=/dev/null bs=128k skip=$i count=1 iflag=direct 2>/dev/null; done &
done
while [ $(cat /sys/block/nvme0n1/inflight | sed 's/^ *//; s/ .*//') -lt 8 ]; do :; done
echo under way
sleep 1000
"""


def _reads(machine):
    """How many the disk has done."""
    (disk,) = [d for d in machine.monitor("query-blockstats") if d["device"] == "disk"]
    return disk["stats"]["rd_operations"]


def _in_flight(node, iommu):
    """A VM is destroyed while its disk has reads under way that take seconds: they end before its memory is another's, whose
    guest finds no change."""
    _, drive = _disk(node, "throttling.bps-read=262144")
    other = {"name": "other", "memory_mib": 256, "kernel": "guest_hostile_driver", "append": "neighbour", "autostart": False}
    # It leaves so little that the other must get what was the first one's.
    filler = {"name": "filler", "memory_mib": 200, "kernel": "guest_idle", "console": "detached"}
    with boot_guests(node, iommu + drive, IN_FLIGHT, linux("00:08.0", memory_mib=256), filler, other,
                     programs=["guest_hostile_driver", "guest_idle"], memory=544, keys={"on_last_vm_off": "stay"}) as machine:
        machine.expect(r"^under way\r\n")
        ask(machine, command="destroy", vm="linux")
        done = _reads(machine)
        assert holders(machine) == {}
        ask(machine, command="start", vm="other")
        machine.pause(6)
        assert _reads(machine) == done, "reads ended after the VM had"
        ask(machine, command="shutdown", vm="other")
        assert settled(machine, "other", "shut off", "failed")["state"] == "shut off"
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)


def in_flight(node):
    _in_flight(node, AMD_VI)


def in_flight_vtd(node):
    _in_flight(node, VTD)


CASES = [reboots, reboots_vtd, kernels, in_flight, in_flight_vtd]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
