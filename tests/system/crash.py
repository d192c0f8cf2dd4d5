"""VMMs die while Linux boots and works; the guest's output must be that of an undisturbed run.

Arguments: N, and the cores of its vCPUs, with commas between (without: one vCPU, on the last core). The VMM is killed at N exits, half of them before the exit is handled and half behind
that, just before the reply; and N times at random basic blocks of the handlers. One boot has many deaths:
the guest goes on each time. (That any single instruction will do is shown on the host by vmm_kill.)
"""

import json
import re

import fetch
import initramfs
import qemu

SERVERS = ("init", "pmem", "console")
DEATHS_PER_BOOT = 100
MOST_BOOTS = 4  # times those that a reference run promises to suffice
TYPED = "the quick brown fox jumps over the lazy dog 0123456789"
# Computing over memory, much console output, timers, and input: each with a known result.
WORKLOAD = """
echo begin
i=0
while [ $i -lt 40 ]; do echo "line $i of many that keep the serial line busy"; i=$((i + 1)); done
head -c 3000000 /dev/zero | tr '\\000' 'x' | sha256sum
dd if=/dev/zero bs=64k count=64 2>/dev/null | sha256sum
for t in 1 2 3 4 5 6; do sleep 0.05; echo tick $t; done
echo ready
read line </dev/console
echo "got $line"
seq 1 300 | sort -rn | md5sum
seq 1 120
echo end
"""


class Sweep:
    def __init__(self, node):
        self.node = node
        self.initrd = initramfs.with_command(initramfs.base(), WORKLOAD)
        self.boots = 0
        # With two cores the supervisor and a VM with one vCPU are apart.
        self.places = {"core": node.options.cores - 1}
        if len(node.arguments) > 1:
            self.places = {"cpus": [int(core) for core in node.arguments[1].split(",")]}

    def boot(self, **keys):
        """One run: the guest's output, and what the node said on its log."""
        vm = {"name": "test", "memory_mib": 128, "kernel": "kernel", "initrd": "initrd",
              "append": "console=ttyS0 quiet", "restart_limit": 1000000,
              **self.places, **keys}
        manifest = json.dumps({"vms": [vm], "test_exit_port": 244}).encode()
        modules = [(name, self.node.program(name)) for name in SERVERS]
        modules += [(name, self.node.program(name)) for name in ("vmm", "vmm_faulty")]
        modules += [("manifest", manifest), ("kernel", fetch.kernel()), ("initrd", self.initrd)]
        self.boots += 1
        log = self.node.directory / f"log{self.boots}"
        with self.node.boot(modules, arguments=qemu.LOG_OPTION, log=log) as machine:
            machine.expect(r"^ready\r\n")
            machine.send(TYPED + "\n")
            self.node.check_off(machine)
            output = machine.output
        # From the guest's first words to its last; the kernel's farewell has a time in it.
        return output[output.index(b"Margay guest:") : output.index(b"\r\nend\r\n")], log.read_text(errors="replace")

    def check(self, reference, keys):
        """A run with deaths: how many there were, and how many exits were half handled."""
        output, log = self.boot(**keys)
        if output != reference:
            raise RuntimeError(f"with {keys} the guest's output differs:\n{difference(reference, output)}")
        found = re.search(r"had (\d+) VMMs die under it; (\d+) exits were rolled back", log)
        if not found:
            raise RuntimeError(f"with {keys} no VMM died")
        return int(found[1]), int(found[2])

    def kill(self, reference, count, boots, options_of):
        """As many runs as `count` deaths need, each with the options for its number; deaths and exits undone.

        Each of the runs is wanted. How many exits a run has depends on the machine's speed, so there may be more.
        """
        deaths = undone = 0
        for i in range(MOST_BOOTS * boots):
            if i >= boots and deaths >= count:
                return deaths, undone
            options = options_of(i)
            died, rolled_back = self.check(reference, {"vmm": "vmm_faulty", "vmm_options": options})
            deaths, undone = deaths + died, undone + rolled_back
            print(f"{options}: {died} deaths, {rolled_back} exits rolled back", flush=True)
        raise RuntimeError(f"only {deaths} of {count} deaths in {MOST_BOOTS * boots} runs")


def difference(wanted, got):
    at = next((i for i, (a, b) in enumerate(zip(wanted, got)) if a != b), min(len(wanted), len(got)))
    return f"from byte {at}: wanted {wanted[at:at + 80]!r}, got {got[at:at + 80]!r}"


def exits_of(log):
    return int(re.search(r"powered off after (\d+) exits", log)[1])


def test(node):
    count = int(node.arguments[0])
    sweep = Sweep(node)
    reference, log = sweep.boot(vmm="vmm")
    assert f"got {TYPED}".encode() in reference
    exits = exits_of(log)

    boots = max(2, -(-count // DEATHS_PER_BOOT))
    every = max(2, exits * boots // count)
    deaths, rolled_back = sweep.kill(
        reference, count, boots,
        lambda i: f"every={every} offset={i * every // boots % every}" + (" late" if i % 2 else ""))
    if not rolled_back:
        raise RuntimeError("no exit was rolled back: nothing died behind a handler that changes state")
    print(f"{deaths} deaths at exits, of {exits} exits in a run; {rolled_back} rolled back")

    # Basic blocks of the handler are counted down to the death.
    deaths, rolled_back = sweep.kill(
        reference, count, boots,
        lambda i: f"every={every} offset={(2 * i + 1) * every // boots // 2 % every} depth=60 seed={i}")
    if not rolled_back:
        raise RuntimeError("no death at a random place of a handler was rolled back")
    print(f"{deaths} deaths at random places of the handlers; {rolled_back} rolled back")

    # At random times, whatever the node does then.
    died, undone = sweep.check(reference, {"vmm": "vmm", "test_kill_us": 20000, "test_kill_seed": count})
    print(f"{died} deaths at random times; {undone} rolled back")
