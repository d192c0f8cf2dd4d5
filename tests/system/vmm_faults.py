"""VMMs that fail in their ways, and what becomes of the guest. Argument: the case, see CASES."""

import json
import os
import pty
import re
import subprocess
import sys

import common
import fetch
import initramfs
import qemu

SERVERS = ("init", "pmem", "console")
COMMAND = "echo begin; seq 1 200; sleep 0.2; echo end"
WANTED = "".join(f"{n}\r\n" for n in ["begin", *range(1, 201), "end"]).encode()
# A guest that works until it is told to end, by a line: its time and the host's are not the same.
UNTIL_TOLD = (
    "exec </dev/ttyS0; stty -echo; echo begin; (read line </dev/ttyS0; touch /tmp/told) & "
    "n=0; until [ -e /tmp/told ]; do n=$((n + 1)); echo $n; sleep 0.01; done; echo end"
)


def boot(node, *vms, command=COMMAND, **keys):
    """Boots a node with VMs that run a command; the manifest keys of each VM, and of the node."""
    names = ("vmm", "vmm_faulty", "vmm_next", "vmm_strict", "vmm_hostile")
    modules = [(name, node.program(name)) for name in (*SERVERS, *names)]
    modules.append(("vmm_faulty2", node.program("vmm_faulty")))
    # A busy host must not look like a VMM that hangs.
    defaults = {"hang_ms": 5000, "core": node.options.cores - 1, "memory_mib": 128, "kernel": "kernel", "initrd": "initrd", "append": "console=ttyS0 quiet"}
    manifest = {"vms": [{**defaults, **vm} for vm in vms], "test_exit_port": 244, **keys}
    modules.append(("manifest", json.dumps(manifest).encode()))
    modules.append(("kernel", fetch.kernel()))
    modules.append(("initrd", initramfs.with_command(initramfs.base(), command)))
    return node.boot(modules, arguments=qemu.LOG_OPTION, log=node.directory / "log")


def log_of(node):
    log = node.directory / "log"
    return log.read_text(errors="replace") if log.exists() else ""


def check_said(node, *texts):
    log = log_of(node)
    for text in texts:
        if text not in log:
            raise RuntimeError(f"the node did not say {text!r}")


def end_told(machine):
    """Tells a guest that runs UNTIL_TOLD to end, once it works; all that it printed since its last begin must be there."""
    machine.expect(r"^\d+\r?$")
    machine.send("\n")
    end = machine.expect(r"^end\r?$").start()
    lines = machine.output[:end].rpartition(b"begin\r\n")[2].split()
    if not lines or lines != [b"%d" % n for n in range(1, len(lines) + 1)]:
        raise RuntimeError("the guest's output is not what it should be")


def survives(node, *said, **vm):
    """One VM whose VMM fails; the guest goes on to its end, with all of its output."""
    with boot(node, {"name": "test", **vm}) as machine:
        node.check_off(machine)
        if WANTED not in machine.output:
            raise RuntimeError("the guest's output is not what it should be")
    check_said(node, *said, "guest test powered off")


def hang(node):
    survives(node, "VMM of test ended: it did not answer an exit in time", "#0 ", "last exits of the guest",
             vmm="vmm_faulty", vmm_options="hang=3000", hang_ms=100)


def corrupt(node):
    survives(node, "VMM of test ended: it died", "  general protection (error ",
             vmm="vmm_faulty", vmm_options="corrupt=3000")


def scribble(node):
    """What never changes has a second copy: a VMM that has written over the first is survived."""
    survives(node, "VMM of test ended: it died", "1 damaged sections of the device state were mended",
             vmm="vmm_faulty", vmm_options="scribble=3000")


def spoil(node):
    """Impossible values are no state to go on from: that VM is frozen with a report, the other is not concerned."""
    with boot(node, {"name": "one", "vmm": "vmm_faulty", "vmm_options": "spoil=3000", "vmm_fallback": "vmm"},
              {"name": "two", "console": "detached"}) as machine:
        def wait_for_frozen():
            while machine.ctl(command="dominfo", vm="one")["result"]["state"] != "frozen":
                machine.pause(0.1)

        while "starting guest two" not in log_of(node):
            machine.pause(0.1)
        wait_for_frozen()
        check_said(node, "section `rtc` of the device state has impossible values",
                   "guest one frozen: no build can read its device state", "\n  3000 ")
        # It can begin anew, and comes as far as before.
        assert machine.ctl(command="reset", vm="one")["ok"]
        wait_for_frozen()
        assert machine.ctl(command="destroy", vm="one")["ok"]
        node.check_off(machine)
    check_said(node, "guest two powered off")


def start(node):
    survives(node, "VMM of test ended: it died before it served", vmm="vmm_faulty", vmm_options="start",
             vmm_fallback="vmm")


def slow(node):
    """A start that takes long shows how far it is: on the node's console, and to who asked for it."""
    with boot(node, {"name": "test", "vmm": "vmm_faulty", "vmm_options": "slow=6000"}, command=UNTIL_TOLD) as machine:
        machine.expect("^begin")
        said = [int(n) for n in re.findall(r"guest test starts: (\d+) of \d{4,} KiB of its files are in place", log_of(node))]
        if not said or said != sorted(said) or said[-1] == 0:
            raise RuntimeError(f"KiB in place, as it said: {said}")
        # As on a terminal: there it is shown more often.
        ours, theirs = pty.openpty()
        line = [sys.executable, "-B", str(common.ROOT / "tools" / "cli.py"), "ctl", "--socket", str(machine.control_path)]
        with subprocess.Popen([*line, "reset", "test"], stdout=subprocess.PIPE, stderr=theirs) as process:
            answer = process.stdout.read().decode()
        os.close(theirs)
        shown = os.read(ours, 65536).decode()
        os.close(ours)
        if process.returncode != 0 or "was reset" not in answer:
            raise RuntimeError(f"reset: status {process.returncode}, {answer!r}, {shown!r}")
        if not re.search(r"test starts: [1-9]\.\d of \d+\.\d MB", shown):
            raise RuntimeError(f"it does not show how far the start is: {shown!r}")
        machine.expect("^begin")
        end_told(machine)
        node.check_off(machine)


def deadly(node):
    """Every build dies at one exit: that VM is frozen, the other is not concerned; a swap thaws it."""
    one = {"name": "one", "vmm": "vmm_faulty", "vmm_fallback": "vmm_faulty2", "vmm_options": "deadly=3000"}
    with boot(node, one, {"name": "two", "console": "detached"}) as machine:
        while "guest two powered off" not in log_of(node) or "guest one keeps its state" not in log_of(node):
            machine.pause(0.1)
        check_said(node, "guest one frozen: one exit killed every VMM it was given to", "\n  3000 ")
        info = machine.ctl(command="dominfo", vm="one")["result"]
        assert info["state"] == "frozen" and info["vmm"] == "vmm_faulty2", info
        # A build that dies there as well leaves it frozen.
        machine.ctl(command="vmm-swap", vm="one", module="vmm_faulty")
        while machine.ctl(command="dominfo", vm="one")["result"]["state"] != "frozen":
            machine.pause(0.1)
        reply = machine.ctl(command="vmm-swap", vm="one", module="vmm")
        assert reply["ok"], reply
        node.check_off(machine)
        if WANTED not in machine.output:
            raise RuntimeError("the thawed guest's output is not what it should be")


def swap(node):
    """To a build that speaks the next version of the state, and back, while the guest works."""
    with boot(node, {"name": "test"}, command=UNTIL_TOLD) as machine:
        machine.expect("^begin")
        seen = []
        for module in ("vmm_next", "vmm", "vmm_next", "vmm_next", "vmm"):
            reply = machine.ctl(command="vmm-swap", vm="test", module=module)
            assert reply["ok"], reply
            info = machine.ctl(command="dominfo", vm="test")["result"]
            assert info["vmm"] == module and info["state"] == "running", info
            seen.append(info["blackout_ns"])
        print("blackouts in ns, by the node's clock:", *seen)
        for module in ("nothing", "manifest"):
            reply = machine.ctl(command="vmm-swap", vm="test", module=module)
            assert not reply["ok"], reply
        assert machine.ctl(command="vmm-restart", vm="test")["ok"]
        end_told(machine)
        node.check_off(machine)


def bad_successor(node):
    """A successor that dies at once: the old build goes on."""
    with boot(node, {"name": "test", "vmm_options": "start"}, command=UNTIL_TOLD) as machine:
        machine.expect("^begin")
        reply = machine.ctl(command="vmm-swap", vm="test", module="vmm_faulty")
        assert not reply["ok"] and "did not begin to serve" in reply["error"], reply
        info = machine.ctl(command="dominfo", vm="test")["result"]
        assert info["vmm"] == "vmm", info
        end_told(machine)
        node.check_off(machine)


def refuse(node):
    """A successor that cannot read the state refuses it untouched, and the VMM before goes on."""
    with boot(node, {"name": "test"}, command=UNTIL_TOLD) as machine:
        machine.expect("^begin")
        assert machine.ctl(command="vmm-swap", vm="test", module="vmm_strict")["ok"]
        for _ in range(2):
            reply = machine.ctl(command="vmm-swap", vm="test", module="vmm")
            assert not reply["ok"] and "refuses" in reply["error"] and "uart" in reply["error"], reply
            info = machine.ctl(command="dominfo", vm="test")["result"]
            assert info["vmm"] == "vmm_strict" and info["state"] == "running", info
        end_told(machine)
        node.check_off(machine)


def control(node):
    """suspend, resume, reset, destroy, start: memory and slots are used again."""
    with boot(node, {"name": "test"}, {"name": "other", "console": "detached"}, on_last_vm_off="stay", command=UNTIL_TOLD) as machine:
        ask = lambda command, vm="test": machine.ctl(command=command, vm=vm)
        state = lambda: ask("dominfo")["result"]["state"]
        machine.expect("^begin")
        assert ask("suspend")["ok"] and state() == "suspended"
        assert not ask("suspend")["ok"]
        exits = ask("dominfo")["result"]["exits"]
        machine.pause(0.3)
        assert ask("dominfo")["result"]["exits"] == exits, "a suspended guest goes on"
        assert ask("resume")["ok"] and state() == "running"
        for _ in range(10):
            assert ask("reset")["ok"]
        machine.expect("^begin")
        assert ask("destroy")["ok"] and state() == "shut off"
        for command in ("destroy", "suspend", "resume", "vmm-restart", "save", "restore", "reset"):
            assert not ask(command)["ok"], command
        assert ask("start")["ok"] and not ask("start")["ok"]
        machine.expect("^begin")
        end_told(machine)
        assert machine.ctl(command="shutdown", timeout=0)["ok"]
        node.check_off(machine)


def save(node):
    """A checkpoint: what is restored twice is the same guest twice."""
    modules = [(name, node.program(name)) for name in (*SERVERS, "vmm")]
    vm = {"name": "test", "memory_mib": 128, "kernel": "kernel", "initrd": "initrd",
          "append": "console=ttyS0 quiet"}
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": 244}).encode()))
    modules += [("kernel", fetch.kernel()), ("initrd", initramfs.base())]
    prompt = r"guest:\S*# "

    def say(machine, line, answer):
        machine.send(line + "\n")
        machine.expect(answer)
        machine.expect(prompt)

    with node.boot(modules, arguments=qemu.LOG_OPTION, log=node.directory / "log", memory=700) as machine:
        machine.expect(prompt)
        # In memory, in the shell, in a floating-point register of awk while it runs.
        say(machine, "x=1; echo one > /tmp/f; echo set$?", r"^set0\r?$")
        say(machine, "(sleep 3; echo late) & echo started", r"^started\r?$")
        reply = machine.ctl(command="save", vm="test")
        assert reply["ok"], reply
        for _ in range(2):
            say(machine, "x=2; echo two > /tmp/f; echo changed$?", r"^changed0\r?$")
            say(machine, "echo $x $(cat /tmp/f)", r"^2 two\r?$")
            reply = machine.ctl(command="restore", vm="test")
            assert reply["ok"], reply
            machine.send("\n")
            machine.expect(prompt)
            say(machine, "echo $x $(cat /tmp/f)", r"^1 one\r?$")
        # Timers go on where they were.
        machine.expect(r"late\r?$")
        say(machine, "awk 'BEGIN { print 1.5 * 3 }'", r"^4.5\r?$")
        machine.send("exit\n")
        node.check_off(machine)


def fuzz(node):
    """Hostile VMMs reply with random state: the kernel lives, and so does a guest beside them."""
    hostile = [{"name": f"fuzz{seed}", "vmm": "vmm_hostile", "vmm_options": f"fuzz={seed} rounds=4000",
                "memory_mib": 64} for seed in (1, 2, 3)]
    with boot(node, {"name": "test"}, *hostile) as machine:
        node.check_off(machine)
        if WANTED not in machine.output:
            raise RuntimeError("the guest's output is not what it should be")
    check_said(node, "guest test powered off")
    said = re.findall(r"fuzz: 4000 rounds, refused (\d+), .* invalid (\d+)", log_of(node))
    # The kernel refuses what the processor would: none of it reaches VMRUN.
    if len(said) != 3 or any(int(refused) == 0 or int(invalid) != 0 for refused, invalid in said):
        raise RuntimeError(f"rounds, refusals and invalid states: {said}")


def overrule(node):
    """A VMM that tries to do what only its supervisor may is refused, each time; its exits are its own."""
    with boot(node, {"name": "test"}, {"name": "rebel", "vmm": "vmm_hostile", "vmm_options": "overrule rounds=50",
                                       "memory_mib": 64}) as machine:
        node.check_off(machine)
    check_said(node, "guest test powered off")
    said = re.findall(r"overrule: .*", log_of(node))
    if len(said) != 1 or "50 rounds, granted 0" not in said[0]:
        raise RuntimeError(f"what it says: {said}")


def _beside(node, options, ended, **keys):
    """A hostile VMM, on the other core if there is one: its neighbour, on core 0, comes to its end, and ctl is answered.

    ended: what becomes of the hostile one's VM.
    """
    bad = {"name": "bad", "vmm": "vmm_hostile", "vmm_options": options, "console": "detached", **keys}
    with boot(node, bad, {"name": "good", "core": 0}, on_last_vm_off="stay") as machine:
        while "guest good powered off" not in log_of(node):
            assert machine.ctl(command="list")["ok"]
            machine.pause(0.2)
        if WANTED not in machine.output:
            raise RuntimeError("the neighbour's output is not what it should be")
        while machine.ctl(command="dominfo", vm="bad")["result"]["state"] != ended:
            machine.pause(0.2)
        # It can be ended, and its core is free then.
        assert machine.ctl(command="destroy", vm="bad")["ok"]
        assert machine.ctl(command="shutdown", timeout=0)["ok"]
        node.check_off(machine)


def news(node):
    _beside(node, "news", "running")


def bells(node):
    _beside(node, "bells", "running")


def storm(node):
    """It never begins to serve: its VMMs are killed for that, one after the other."""
    _beside(node, "storm", "frozen", start_ms=300, restart_limit=2, restart_window_ms=86400000)


def spin(node):
    """It says that it serves, and never answers: that is found."""
    _beside(node, "spin", "frozen", hang_ms=300, restart_limit=2, restart_window_ms=86400000)


def shared_memory(node):
    """VMMs that write nonsense where the supervisor and the console read: only their own VMs end."""
    hostile = [{"name": option, "vmm": "vmm_hostile", "vmm_options": option, "memory_mib": 32,
                "console": "detached"} for option in ("endless_reason", "runaway_ring")]
    with boot(node, {"name": "test"}, *hostile) as machine:
        while not all(text in log_of(node) for text in ("guest test powered off", "guest endless_reason keeps its state",
                                                        "guest runaway_ring keeps its state")):
            machine.pause(0.1)
        if WANTED not in machine.output:
            raise RuntimeError("the guest's output is not what it should be")
        info = machine.ctl(command="dominfo", vm="endless_reason")["result"]
        assert info["state"] == "frozen" and info["reason"].isprintable(), info
        if "\x1b" in log_of(node):
            raise RuntimeError("a VMM's bytes reached the terminal as they are")
        machine.ctl(command="shutdown", timeout=0)
        machine.wait()


CASES = [hang, corrupt, scribble, spoil, start, slow, deadly, swap, bad_successor, refuse, control, save, fuzz, overrule, news, bells, storm, spin, shared_memory]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
