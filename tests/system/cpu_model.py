"""What Linux sees of the processor is what the manifest's "cpu" says."""

import json

import fetch
import initramfs

SERVERS = ("init", "pmem", "console", "vmm")
SHOWN, HIDDEN = ("ssse3", "sse4_2", "popcnt", "aes"), ("avx", "avx2", "xsave", "smep", "rdrand", "bmi1")


def test(node):
    flags = "flags=\" $(grep -m1 ^flags /proc/cpuinfo | cut -d: -f2) \"; "
    ask = "for f in " + " ".join((*SHOWN, *HIDDEN)) + "; do case $flags in *\" $f \"*) echo has $f;; *) echo lacks $f;; esac; done"
    vm = {"name": "linux", "memory_mib": 128, "kernel": "kernel", "initrd": "initrd", "cpu": "x86-64-v2,+aes",
          "append": "console=ttyS0 quiet"}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": 244}).encode()))
    modules += [("kernel", fetch.kernel()), ("initrd", initramfs.with_command(initramfs.base(), flags + ask))]
    with node.boot(modules) as machine:
        for said, names in (("has", SHOWN), ("lacks", HIDDEN)):
            for name in names:
                machine.expect(rf"^{said} {name}\r?$")
        node.check_off(machine)
