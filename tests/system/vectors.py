"""Unexpected interrupts, NMIs and machine checks. Argument: the case, see CASES."""

import pathlib
import socket
import time

import fetch
import harness
import image
import initramfs

SERVERS = ("init", "pmem", "console", "vmm")


def messages(node):
    """A device sends every vector and NMIs to both cores while they run calls."""
    with node.boot([("init", node.program("test_vectors"))], extra=["-device", "edu"]) as machine:
        node.check_off(machine)
        harness.check_lines(machine.lines(), [r"core 0: 1920 messages", r"core 1: 1920 messages", r" 0 failed"],
                            ["FAILED"])


class Monitor:
    """QEMU's monitor on a socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(100):
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                time.sleep(0.1)

    def say(self, line):
        self.socket.sendall(line.encode() + b"\n")


def _linux(node, command):
    path = pathlib.Path(node.directory, "monitor")
    manifest = image.manifest(memory_mib=128, append="console=ttyS0 quiet", core=node.options.cores - 1)
    initrd = initramfs.with_command(initramfs.base(), command)
    modules = [(name, node.program(name)) for name in SERVERS]
    modules += [("manifest", manifest), ("kernel", fetch.kernel("linux-image-cloud-amd64")), ("initrd", initrd)]
    machine = node.boot(modules, extra=["-monitor", f"unix:{path},server=on,wait=off"])
    return machine, Monitor(path)


def nmi(node):
    """NMIs to all cores while a Linux guest boots, works and powers off."""
    machine, monitor = _linux(node, "echo begin; seq 1 300; echo end")
    with machine:
        machine.expect(r"starting guest linux")
        for _ in range(300):
            monitor.say("nmi")
            time.sleep(0.005)
        machine.expect(r"^end\r?$")
        node.check_off(machine)


def machine_check(node):
    """One that cannot be corrected: the node says where and stops."""
    machine, monitor = _linux(node, "echo begin; sleep 100000")
    with machine:
        machine.expect(r"^begin\r?$")
        # Core 0, bank 4: valid, uncorrected, enabled, address; in progress, restart possible.
        monitor.say("mce 0 4 0xb400000000000135 0x5 0x123456000 0")
        machine.expect(r"machine check on core 0: bank 4 status b400000000000135 address 123456000")
        node.check_status(machine, 35)


CASES = [messages, nmi, machine_check]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
