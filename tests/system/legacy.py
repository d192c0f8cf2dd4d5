"""Debian's kernels without what guests of today have: no ACPI, no local APIC, no I/O APIC, no x2APIC mode. Arguments: the
kernel's Debian package; the case, see CASES."""

import json

import fetch
import initramfs

SERVERS = ("init", "pmem", "console", "vmm")
# Of each: what the kernel is told; lines that it must and must not print at its start; who sends the serial line's and
# who the timer's interrupts.
X2APIC = "x2apic enabled"
CASES = {
    "usual": ("", X2APIC, "No local APIC", "IO-APIC", "LOC"),
    "nox2apic": ("nox2apic", "Switch to symmetric I/O mode", X2APIC, "IO-APIC", "LOC"),
    "noapic": ("noapic", "Skipping IOAPIC probe", X2APIC, "XT-PIC", "LOC"),
    "nolapic": ("nolapic", "Keep in PIC mode", X2APIC, "XT-PIC", "0"),
    # The cloud kernel leaves the local APIC alone then; the general one lets the 8259's interrupts through it.
    "acpi=off": ("acpi=off", "(Keep in PIC mode|Switch to virtual wire mode)", X2APIC, "XT-PIC", "0"),
}


def test(node):
    package, case = node.arguments
    append, found, missing, serial, timer = CASES[case]
    vm = {"name": "linux", "memory_mib": 256, "kernel": "kernel", "initrd": "initrd", "console": "attached",
          "append": f"console=ttyS0 quiet {append}"}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": 244}).encode()))
    modules += [("kernel", fetch.kernel(package)), ("initrd", initramfs.base(kernel=package))]
    with node.boot(modules) as machine:
        machine.expect(r"guest:.*# ")
        # The timer works, and ends what would sleep for ever.
        machine.send("timeout 1 sleep 1000; echo slept $((40 + 2))\n")
        machine.expect(r"^slept 42\r?$")
        # What is typed does not look like what is printed.
        machine.send(f"dmesg | grep -c -E '{found}'; dmesg | grep -c '{missing}'; echo en''d\n")
        for line in ("[1-9]", "0", "end"):
            machine.expect(rf"^{line}\r?$")
        machine.send("grep ttyS0 /proc/interrupts\n")
        machine.expect(rf"^ *4: +[1-9]\d* +{serial} .*ttyS0\r?$")
        # Hundreds in that second.
        machine.send(f"grep -E '(^| ){timer}:' /proc/interrupts\n")
        machine.expect(rf"^ *{timer}: +\d\d\d+ ")
        if case == "acpi=off":
            # Nothing there knows how to power off.
            machine.send("poweroff -f\n")
            machine.expect(r"guest linux failed: halted with interrupts off")
            node.check_status(machine, 35)
        else:
            machine.send("poweroff -f\n")
            node.check_off(machine)
