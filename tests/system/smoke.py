"""Guests of others that are no usual Linux: each starts and comes to a point that it reaches only if much works.
Argument: the case, see CASES; then how many vCPUs."""

import json
import re

import fetch
import initramfs

SERVERS = ("init", "pmem", "console", "vmm")
ESCAPE = "\x1b"
FAILED = 35


def boot(node, memory_mib, kernel, append, initrd=None):
    vm = {"name": "guest", "memory_mib": memory_mib, "kernel": "kernel", "console": "attached", "append": append,
          "cpus": int(node.arguments[1]), "core": min(1, node.options.cores - 1), "on_reset": "stop"}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules.append(("kernel", kernel))
    if initrd is not None:
        vm["initrd"] = "initrd"
        modules.append(("initrd", initrd))
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": 244}).encode()))
    return node.boot(modules)


def ends_by_reset(node, machine):
    machine.expect(r"guest guest failed: it reset itself")
    node.check_status(machine, FAILED)


def memtest(node, architecture):
    """Its processors wake each other by NMIs; then it tests, finds nothing, and is left."""
    cpus = int(node.arguments[1])
    with boot(node, 8, fetch.memtest(architecture), "console=ttyS0,115200") as machine:
        machine.expect(r"Memtest86\+ v\d")
        machine.expect("SMP: Disabled" if cpus == 1 else rf"SMP: {cpus}T")
        machine.expect("Using: All Cores")  # the first ones run on one only
        machine.send(ESCAPE)
        ends_by_reset(node, machine)
        assert not re.search(rb"Errors: *[1-9]", machine.output)


def xen(node):
    """Debian's general kernel as its first domain, which finds no root file system: Multiboot has but one module here."""
    # With SMAP QEMU's processor faults at the domain's first IRETQ, also without Margay. Without firmware there are no
    # services for real mode.
    append = "console=com1 com1=115200,8n1 no-real-mode smap=0 -- console=hvc0 quiet panic=-1"
    with boot(node, 768, fetch.xen(), append, fetch.kernel("linux-image-amd64")) as machine:
        machine.expect(r"Xen version 4")
        machine.expect(r"Brought up \d+ CPUs")
        machine.expect(r"Dom0 has maximum \d+ VCPUs")
        machine.expect(r"Unable to mount root fs")
        machine.expect(r"Hardware Dom0 crashed")
        ends_by_reset(node, machine)


def real_time(node):
    """A real-time thread is woken in time, and a shell works."""
    initrd = initramfs.base(kernel=fetch.REAL_TIME_KERNEL)
    with boot(node, 256, fetch.kernel(fetch.REAL_TIME_KERNEL), "console=ttyS0 quiet", initrd) as machine:
        machine.expect(r"guest:.*# ")
        machine.send("cat /sys/kernel/realtime; chrt -f 50 timeout 1 sleep 1000; echo slept $((40 + 2))\n")
        machine.expect(r"^1\r?$")
        machine.expect(r"^slept 42\r?$")
        machine.send("poweroff -f\n")
        node.check_off(machine)


def installer(node):
    kernel, initrd = fetch.installer()
    with boot(node, 1024, kernel, "console=ttyS0 quiet", initrd) as machine:
        machine.expect(r"Select a language")
        machine.expect(r"English")


CASES = {
    "memtest_x64": lambda node: memtest(node, "x64"),
    "memtest_ia32": lambda node: memtest(node, "ia32"),
    "xen": xen,
    "real_time": real_time,
    "installer": installer,
}


def test(node):
    CASES[node.arguments[0]](node)
