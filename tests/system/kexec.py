"""A guest that starts another kernel by itself, without firmware: by its administrator's wish, or for a dump of its
memory after a panic. Argument: the case, see CASES; then how many vCPUs."""

import json

import fetch
import initramfs
import libraries

SERVERS = ("init", "pmem", "console", "vmm")
APPEND = "console=ttyS0 quiet"
TOOLS = ("sbin/kexec", "sbin/vmcore-dmesg")


def boot(node, cpus, append=APPEND, memory_mib=512):
    """Linux with kexec-tools; in its /boot the kernel once more and an initial RAM disk that has them too."""
    second = initramfs.with_files(initramfs.base(), libraries.closure(fetch.kexec_tools(), TOOLS))
    first = initramfs.with_files(second, {"boot/vmlinuz": fetch.kernel().read_bytes(), "boot/initrd": second})
    vm = {"name": "linux", "memory_mib": memory_mib, "kernel": "kernel", "initrd": "initrd", "console": "attached",
          "core": min(1, node.options.cores - 1), "cpus": cpus, "append": append}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": 244}).encode()))
    return node.boot([*modules, ("kernel", fetch.kernel()), ("initrd", first)])


def ask(machine, command, answer):
    """A command in the guest, and the line that it must print. What is typed does not look like it."""
    machine.send(command + "\n")
    machine.expect(answer)


def load(machine, option, append):
    ask(machine, f"kexec {option} /boot/vmlinuz --initrd=/boot/initrd --command-line='{append}'; echo lo''aded $?",
        r"^loaded 0\r?$")


def starts(machine):
    machine.expect("Margay guest: Linux")
    machine.expect(r"guest:.*# ")


def works(machine, cpus):
    """A shell of a kernel that has been told so much, whose timer, serial line and vCPUs work."""
    ask(machine, "echo n $(nproc) $(cat /sys/devices/system/cpu/online)", rf"^n {cpus} 0{f'-{cpus - 1}' * (cpus > 1)}\r?$")
    ask(machine, "timeout 1 sleep 1000; echo slept $?", r"^slept (143|124)\r?$")
    ask(machine, "for c in $(seq 1 $(nproc)); do seq 1 4000 | md5sum & done; wait; echo do''ne", r"^done\r?$")


def kexec(node, option):
    cpus = int(node.arguments[1])
    with boot(node, cpus) as machine:
        starts(machine)
        works(machine, cpus)
        load(machine, option + " -l", APPEND + " second")
        machine.send("kexec -e\n")
        starts(machine)
        ask(machine, "sed 's/^.*quiet/told/' /proc/cmdline", r"^told second\r?$")
        works(machine, cpus)
        machine.send("poweroff -f\n")
        node.check_off(machine)
        assert not any("started anew" in line for line in machine.lines())


def dump(node):
    """The kernel that a panic starts finds the memory of the one before, with its log in it."""
    cpus = int(node.arguments[1])
    with boot(node, cpus, APPEND + " crashkernel=192M") as machine:
        starts(machine)
        load(machine, "-p", APPEND + " irqpoll nr_cpus=1 reset_devices second")
        ask(machine, "cat /sys/kernel/kexec_crash_loaded", r"^1\r?$")
        # On the last of them, which need not be the one that a machine begins with.
        machine.send(f"echo a secret''of the first > /dev/kmsg; taskset {1 << cpus - 1:x} "
                     "sh -c 'echo c > /proc/sysrq-trigger'\n")
        starts(machine)
        ask(machine, "head -c 4 /proc/vmcore | tail -c 3; echo", r"^ELF\r?$")
        ask(machine, "vmcore-dmesg /proc/vmcore | grep -o 'a secretof.*'", r"^a secretof the first\r?$")
        ask(machine, "vmcore-dmesg /proc/vmcore | grep -o 'Kernel panic.*'", r"^Kernel panic - not syncing: sysrq triggered crash")
        ask(machine, f"vmcore-dmesg /proc/vmcore | grep -o 'CPU: {cpus - 1} PID.*sh'", rf"^CPU: {cpus - 1} PID")
        works(machine, 1)
        machine.send("poweroff -f\n")
        node.check_off(machine)


CASES = {
    "load": lambda node: kexec(node, "-c"),
    "file_load": lambda node: kexec(node, "-s"),
    "dump": dump,
}


def test(node):
    CASES[node.arguments[0]](node)
