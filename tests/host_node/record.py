"""Records the exits of a Linux boot, to a shell and off, for tests/host_node/replay_test.cpp.

Argument: the file to write. See tests/host_node/recordings/README.md.
"""

import json
import pathlib
import re

import fetch
import initramfs
import qemu

SERVERS = ("init", "pmem", "console")
# Must be what replay_test.cpp gives its guest.
MEMORY_MIB = 128
# Fields whose value is given as distance: of the exit's time from the last exit's, of the deadline from it.
NEVER = 2**64 - 1
PORT = 5
RAX, IRQ, DEADLINE = 1 << 16, 1 << 17, 1 << 18


def lines_of(log):
    """The recorder's lines; the console cuts and interleaves none of them."""
    found = (re.match(r"(?:\[\S+\] )?@([a-z] .*)", line) for line in qemu.console_lines(log))
    return [line[1].split() for line in found if line]


def compact(lines):
    """What repeats itself becomes `-`, times become distances."""
    last = {}
    time = 0
    for kind, *fields in lines:
        numbers = [int(f, 16) for f in fields]
        if kind == "h":
            time = numbers[1]
        key = kind
        if kind == "e":
            now = numbers[2]
            numbers[2], time = now - time, now
            key = f"e{numbers[0]:x}"
            if numbers[0] == PORT:
                numbers[5] -= numbers[3]  # the next instruction
        shown = [f"{n:x}" for n in numbers]
        if kind == "r":
            dirty = numbers[1]
            if not dirty & RAX:
                shown[2] = "0"
            if not dirty & IRQ:
                shown[3] = "0"
            shown[4] = "0" if not dirty & DEADLINE else "never" if numbers[4] == NEVER else f"{numbers[4] - time:x}"
        if kind in "er":
            before, last[key] = last.get(key, [None] * len(shown)), shown
            shown = ["-" if a == b and (kind, i) != ("e", 0) else a for i, (a, b) in enumerate(zip(shown, before))]
            while shown and shown[-1] == "-":
                shown.pop()
        yield kind, shown


def joined(lines):
    """Lines of one kind that follow each other as one, where they are lists."""
    last = None
    for kind, shown in lines:
        if kind == last and kind in "msd":
            text += " " + " ".join(shown)
            continue
        if last:
            yield text
        text, last = " ".join([kind, *shown]), kind
    yield text


def test(node):
    keys = {"name": "test", "memory_mib": MEMORY_MIB, "kernel": "kernel", "initrd": "initrd", "vmm": "vmm_recorder"}
    # Written down at each exit: the watch must not take it for a hang.
    keys |= {"append": "console=ttyS0 quiet", "hang_ms": 60000}
    modules = [(name, node.program(name)) for name in (*SERVERS, "vmm_recorder")]
    modules.append(("manifest", json.dumps({"vms": [keys], "test_exit_port": 244}).encode()))
    modules.append(("kernel", fetch.kernel()))
    modules.append(("initrd", initramfs.with_command(initramfs.base(), "echo recorded")))
    log = node.directory / "log"
    with node.boot(modules, arguments=qemu.LOG_OPTION, log=log) as machine:
        node.check_off(machine)
    lines = lines_of(log.read_bytes())
    pathlib.Path(node.arguments[0]).write_text("\n".join(joined(compact(lines))) + "\n")
    print(f"{sum(line[0] == 'e' for line in lines)} exits")
