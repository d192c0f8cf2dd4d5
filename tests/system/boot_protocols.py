"""Guests that are loaded by other protocols than Linux' 64-bit one: what each is given, and the reason where it is
refused, once."""

import json
import struct

SERVERS = ("init", "pmem", "console", "vmm")
# Of each guest: the protocol's name, what stands before the command line.
GUESTS = {
    "guest_linux": ("32-bit Linux", ""),
    "guest_multiboot": ("Multiboot", "kernel "),
    "guest_multiboot_elf": ("Multiboot", "kernel "),
    "guest_pvh": ("PVH", ""),
}


def boot(node, kernel, memory_mib=8):
    vm = {"name": "test", "memory_mib": memory_mib, "kernel": "kernel", "initrd": "initrd", "console": "attached",
          "append": "one two"}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": 244}).encode()))
    return node.boot([*modules, ("kernel", kernel), ("initrd", b"the module")])


def refusals(node):
    """(kernel, memory in MiB, reason)."""
    pvh = node.program("guest_pvh").read_bytes()
    flat = node.program("guest_multiboot").read_bytes()
    at = flat.index(struct.pack("<I", 0x1BADB002))
    needs_video = flat[:at + 4] + struct.pack("<II", 0x10007, -(0x1BADB002 + 0x10007) & 0xFFFFFFFF) + flat[at + 12:]
    yield pvh.replace(b"Xen\0", b"Xun\0"), 8, "the ELF file has neither a Multiboot header nor a PVH note"
    yield needs_video, 8, "the kernel's Multiboot header requires a video mode"
    yield flat[:-16], 8, "the kernel file is shorter than its Multiboot header says"


def test(node):
    for name, (protocol, prefix) in GUESTS.items():
        with boot(node, node.program(name).read_bytes()) as machine:
            node.check_off(machine)
            found = [line for line in machine.lines() if line.startswith(
                ("booted by", "command line", "usable", "module", "boot checks", "FAILED"))]
            # 8 MiB without the hole from 0x9fc00 to 1 MiB.
            wanted = [f"booted by {protocol}", f"command line: {prefix}one two", "usable: 7807 KiB",
                      "module: the module", "boot checks: 0 failed"]
            assert found == wanted, (name, found)
    for kernel, memory_mib, reason in refusals(node):
        with boot(node, kernel, memory_mib) as machine:
            node.check_status(machine, 35)
            said = [line for line in machine.lines() if reason in line]
            assert len(said) == 1 and "guest test failed: " in said[0], (reason, said)
