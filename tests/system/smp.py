"""Guests with several vCPUs. Argument: the case, see CASES; then how many vCPUs."""

import hashlib
import json
import re

import fetch
import initramfs
import qemu

SERVERS = ("init", "pmem", "console", "vmm", "vmm_next", "vmm_faulty")
# What `seq 1 4000 | md5sum` says.
SUM = hashlib.md5("".join(f"{i}\n" for i in range(1, 4001)).encode()).hexdigest()


def boot(node, cpus, append="quiet", log=None, initrd=None, **keys):
    vm = {"name": "linux", "memory_mib": 256, "kernel": "kernel", "initrd": "initrd", "console": "attached",
          "core": min(1, node.options.cores - 1), "cpus": cpus, "append": "console=ttyS0 " + append, **keys}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": 244}).encode()))
    modules += [("kernel", fetch.kernel()), ("initrd", initrd or initramfs.base())]
    return node.boot(modules, arguments=qemu.LOG_OPTION if log else "", log=log)


def good(machine, **request):
    reply = machine.ctl(**request)
    assert reply["ok"], (request, reply)
    return reply["result"]


def ask(machine, command, answer):
    """A command in the guest, and the line that it must print. What is typed does not look like it."""
    machine.send(command + "\n")
    machine.expect(answer)


def prepare(machine):
    """A function in its shell: the same sum on each vCPU at the same time."""
    machine.expect(r"guest:.*# ")
    machine.send("mkdir -p /tmp; work() { for c in $(seq 0 $(($(nproc)-1))); do (taskset $(printf %x $((1<<c))) "
                 "seq 1 4000 | md5sum >/tmp/s.$c) & done; wait; cat /tmp/s.* | sort -u; rm /tmp/s.*; }; echo rea''dy\n")
    machine.expect(r"^ready\r?$")


def work(machine):
    ask(machine, "work", rf"^{SUM}  -\r?$")


def count(node):
    return int(node.arguments[1])


def runs(node):
    """Boots, works on all, takes one off and on again, powers off."""
    cpus = count(node)
    with boot(node, cpus) as machine:
        prepare(machine)
        online = "0" if cpus == 1 else f"0-{cpus - 1}"
        ask(machine, "echo n $(nproc) $(cat /sys/devices/system/cpu/online)", rf"^n {cpus} {online}\r?$")
        # CPUID's offers were understood: a halt that another one ends, and IPIs by one call.
        ask(machine, "echo aids $(dmesg | grep -c -e 'PV spinlocks enabled' -e 'setup PV IPIs' "
            "-e 'setup pv remote TLB flush')", rf"^aids {3 if cpus > 1 else 0}\r?$")
        work(machine)
        last = f"/sys/devices/system/cpu/cpu{cpus - 1}/online"
        # The only one cannot be taken off.
        for _ in range(2 if cpus > 1 else 0):
            ask(machine, f"echo 0 > {last}; echo off $(nproc)", rf"^off {cpus - 1}\r?$")
            work(machine)
            ask(machine, f"echo 1 > {last}; echo on $(nproc)", rf"^on {cpus}\r?$")
            work(machine)
        machine.send("poweroff -f\n")
        node.check_off(machine)


# Once on each processor at the same time, then without the last one, then with it again.
COMMAND = """
work() { for c in $(seq 0 $(($(nproc)-1))); do (taskset $(printf %x $((1<<c))) seq 1 4000 | md5sum >/tmp/s.$c) & done
         wait; echo sum $(nproc) $(cat /tmp/s.* | sort -u); rm /tmp/s.*; }
last=/sys/devices/system/cpu/cpu$(($(nproc)-1))/online
work; echo 0 >$last; work; echo 1 >$last; work
"""


def command(node):
    """The same by the guest alone: nothing is typed."""
    cpus = count(node)
    with boot(node, cpus, initrd=initramfs.with_command(initramfs.base(), COMMAND)) as machine:
        for found in (cpus, cpus - 1, cpus):
            machine.expect(rf"^sum {found} {SUM} -\r?$")
        node.check_off(machine)


def options(node):
    """Kernels that are told not to use them, and a guest that resets itself with all of them."""
    for append, found in (("maxcpus=1", 1), ("nosmp", 1), ("nr_cpus=2", 2)):
        with boot(node, count(node), append="quiet " + append) as machine:
            prepare(machine)
            ask(machine, "echo n $(nproc)", rf"^n {found}\r?$")
            work(machine)
            if found == 2:
                machine.send("reboot -f\n")
                machine.expect(r"guest linux ended after \d+ exits and is started anew: it reset itself")
                prepare(machine)
                ask(machine, "echo m $(nproc)", r"^m 2\r?$")
            machine.send("poweroff -f\n")
            node.check_off(machine)


def operator(node):
    """Restart, swap to another layout and back, suspend, save, restore, reset."""
    cpus = count(node)
    with boot(node, cpus) as machine:
        prepare(machine)
        for request in ({"command": "vmm-restart"}, {"command": "vmm-swap", "module": "vmm_next"}, {"command": "vmm-restart"},
                        {"command": "vmm-swap", "module": "vmm"}):
            good(machine, vm="linux", **request)
            work(machine)
        good(machine, command="suspend", vm="linux")
        assert good(machine, command="dominfo", vm="linux")["state"] == "suspended"
        good(machine, command="resume", vm="linux")
        work(machine)
        good(machine, command="save", vm="linux")
        ask(machine, "touch /tmp/later; ls /tmp | grep -c later", r"^1\r?$")
        for _ in range(2):
            good(machine, command="restore", vm="linux")
            ask(machine, "ls /tmp | grep -c later", r"^0\r?$")
            work(machine)
        # In the midst of work, with messages between them on their way.
        ask(machine, "echo be''gun; work; work; work; echo en''d", r"^begun\r?$")
        for _ in range(6):
            good(machine, command="save", vm="linux")
            good(machine, command="restore", vm="linux")
        machine.expect(r"^end\r?$")
        good(machine, command="reset", vm="linux")
        prepare(machine)
        work(machine)
        machine.send("poweroff -f\n")
        node.check_off(machine)


def dies(node):
    """Its VMM dies at every third exit while it works, sometimes before and sometimes behind the handler."""
    for late in ("", " late"):
        # What is said of the dead would come between the guest's words.
        log = node.directory / f"log{late.strip()}"
        with boot(node, count(node), log=log, vmm="vmm_faulty", vmm_fallback="vmm", restart_limit=1000000,
                  vmm_options="every=7 offset=3" + late) as machine:
            prepare(machine)
            for _ in range(3):
                work(machine)
            machine.send("poweroff -f\n")
            node.check_off(machine)
        assert re.search(r"guest linux had \d{3,} VMMs die under it", log.read_text(errors="replace"))


def stolen(node):
    """Two vCPUs on one core compute at the same time: the guest's own account says that it had half of them. That is made
    of ticks, which come late on a busy machine: instructions are counted."""
    with boot(node, 2) as machine:
        prepare(machine)
        machine.send("spin() { i=0; while [ $i -lt 25000 ]; do i=$((i+1)); done; }; "
                     "stat() { set -- $(grep '^cpu ' /proc/stat); all=$(($2+$3+$4+$5+$6+$7+$8+$9)); stolen=$9; }; "
                     "stat; a=$all; s=$stolen; spin & spin & wait; stat; "
                     "echo stolen $((100*(stolen-s)/(all-a))) percent of $((all-a))\n")
        percent = int(machine.expect(r"^stolen (\d+) percent of (\d+)\r?$").group(1))
        assert 30 <= percent <= 65, percent
        machine.send("poweroff -f\n")
        node.check_off(machine)


CASES = {"runs": runs, "command": command, "options": options, "operator": operator, "dies": dies, "stolen": stolen}


def test(node):
    CASES[node.arguments[0]](node)
