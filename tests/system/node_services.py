"""console and pmem are killed again and again.

Argument: guest: a guest prints numbered lines and an operator gives commands: all lines arrive, in order, each command is
answered, and in the end as much memory is in use as before. requests: they come without a pause while the console lives for some
milliseconds each time; each is answered and carried out once. hang: the console spins when it has lived for a while; it is found and
replaced, and all lines of a guest arrive. memory: the same of pmem and the one that clears, while VMs come and go.
"""

import json
import time

import fetch
import harness
import initramfs
import node_define
import qemu

SERVERS = ("init", "pmem", "console", "vmm")
DEATHS, HANGS = 20, 3
LINES = 4000
REQUESTS = 600
PRINTING = f"i=0; while [ $i -lt {LINES} ]; do echo line $i of {LINES}; i=$((i + 1)); done"


def is_whole(sent, text, deaths):
    """Whether `text` was sent in order and whole. A death repeats one byte at most, which was in the UART already."""
    at = 0
    for c in sent:
        if at < len(text) and c == text[at]:
            at += 1
        elif at == 0 or c != text[at - 1] or deaths == 0:
            return False
        else:
            deaths -= 1
    return at == len(text)


def check_lines(lines, deaths):
    begin = next(i for i, line in enumerate(lines) if line.startswith("line 0 of"))
    end = next(i for i, line in enumerate(lines) if "command ended with status" in line)
    expected = "".join(f"line {i} of {LINES}\n" for i in range(LINES))
    if not is_whole("".join(line + "\n" for line in lines[begin:end]), expected, deaths):
        raise harness.TestFailure("the guest's lines did not arrive as they were printed")


def deaths(log, of):
    return log.read_text(errors="replace").count(f"margay: {of}; it is started again")


def requests(node):
    manifest = {"vms": [], "on_last_vm_off": "stay", "test_exit_port": 244, "test_kill_services_us": 8_000}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules += [("manifest", json.dumps(manifest).encode()), ("idle", node.program("guest_idle"))]
    log = node.directory / "log"
    count = 0
    with node.boot(modules, arguments=qemu.LOG_OPTION, log=log) as machine:
        while count < REQUESTS or deaths(log, "the console died") < REQUESTS:
            # Either is refused the second time.
            node_define.good(machine, command="define", config='{"name": "one", "memory_mib": 4, "kernel": "idle"}')
            node_define.good(machine, command="undefine", vm="one")
            count += 2
        node_define.good(machine, command="shutdown")
        node.check_off(machine)
    print(f"{deaths(log, 'the console died')} consoles killed, {count} requests")


def hang(node):
    manifest = {"vms": [], "on_last_vm_off": "stay", "test_exit_port": 244}
    manifest["vms"] = [{"name": "linux", "memory_mib": 96, "kernel": "kernel", "initrd": "initrd", "append": "console=ttyS0 quiet"}]
    modules = [(name, node.program(name)) for name in ("init", "pmem", "vmm")]
    modules += [("console", node.program("console_faulty")), ("manifest", json.dumps(manifest).encode()),
                ("kernel", fetch.kernel()), ("initrd", initramfs.with_command(initramfs.base(), PRINTING))]
    log = node.directory / "log"
    hung = "the console hung and was ended"
    with node.boot(modules, arguments=qemu.LOG_OPTION, log=log) as machine:
        machine.expect(r"the command ended with status 0")
        requests = 0
        while deaths(log, hung) < HANGS:
            node_define.good(machine, command="list")
            requests += 1
        node_define.good(machine, command="shutdown")
        node.check_off(machine)
        lines = machine.lines()
    print(f"{deaths(log, hung)} consoles hung, {requests} requests")
    check_lines(lines, deaths(log, "the console died") + deaths(log, hung))


def come_and_go(machine):
    another = '{"name": "two", "memory_mib": 4, "kernel": "idle", "core": 1, "console": "detached"}'
    node_define.good(machine, command="define", config=another)
    node_define.good(machine, command="start", vm="two")
    node_define.good(machine, command="vmm-restart", vm="two")
    node_define.good(machine, command="destroy", vm="two")
    node_define.good(machine, command="undefine", vm="two")


def outlive(node, modules, log, go_on):
    """VMs come and go beside a guest that prints, while go_on(); nothing is lost then. How many, and the lines."""
    with node.boot(modules, arguments=qemu.LOG_OPTION, log=log) as machine:
        machine.expect(r"^line 0 of")
        come_and_go(machine)
        before = node_define.in_use_at_rest(machine)
        rounds = 0
        while go_on():
            come_and_go(machine)
            rounds += 1
        machine.expect(r"the command ended with status 0")
        node_define.wait_until(lambda: node_define.good(machine, command="list")[0]["state"] == "shut off")
        node_define.good(machine, command="start", vm="linux")
        node_define.settle(machine, before)
        node_define.good(machine, command="destroy", vm="linux")
        node_define.good(machine, command="shutdown")
        node.check_off(machine)
        lines = machine.lines()
    return rounds, lines


def memory(node):
    manifest = {"vms": [{"name": "linux", "memory_mib": 96, "kernel": "kernel", "initrd": "initrd", "append": "console=ttyS0 quiet"}],
                "on_last_vm_off": "stay", "test_exit_port": 244}
    modules = [(name, node.program(name)) for name in ("init", "console", "vmm")]
    modules += [("pmem", node.program("pmem_faulty")), ("manifest", json.dumps(manifest).encode()), ("kernel", fetch.kernel()),
                ("initrd", initramfs.with_command(initramfs.base(), PRINTING)), ("idle", node.program("guest_idle"))]
    log = node.directory / "log"
    pmem, clear = "pmem hung and was ended", "pmem_clear hung and was ended"
    rounds, lines = outlive(node, modules, log, lambda: deaths(log, pmem) < 2 or deaths(log, clear) == 0)
    print(f"{deaths(log, pmem)} pmems and {deaths(log, clear)} that clear hung, {rounds} VMs came and went")
    check_lines(lines, 0)


def test(node):
    {"guest": guest, "requests": requests, "hang": hang, "memory": memory}[node.arguments[0]](node)


def guest(node):
    manifest = {
        "vms": [{"name": "linux", "memory_mib": 96, "kernel": "kernel", "initrd": "initrd", "append": "console=ttyS0 quiet",
                 "hang_ms": 20000}],
        "on_last_vm_off": "stay", "test_exit_port": 244, "test_kill_services_us": 100_000,
    }
    modules = [(name, node.program(name)) for name in SERVERS]
    modules += [("manifest", json.dumps(manifest).encode()), ("kernel", fetch.kernel()),
                ("initrd", initramfs.with_command(initramfs.base(), PRINTING)), ("idle", node.program("guest_idle"))]
    log = node.directory / "log"
    rounds, lines = outlive(node, modules, log, lambda: min(deaths(log, "the console died"), deaths(log, "pmem was killed")) < DEATHS)
    count = deaths(log, "the console died")
    print(f"{count} consoles and {deaths(log, 'pmem was killed')} pmems killed, {rounds} VMs came and went")
    check_lines(lines, count)
