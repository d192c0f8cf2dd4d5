"""Random operator commands on a working node, while VMMs die: afterwards every VM works, and memory, slots and windows in
use are what they were.

Arguments: COUNT commands, SEED. Three VMs of a guest that exits for ever: one whose VMM is well, one whose VMMs die within
exits, and one whose VMMs are killed at random times.
"""

import json
import random
import time

import common
import qemu

SERVERS = ("init", "pmem", "console")
VMMS = {"vmm": "vmm", "other": "vmm", "next": "vmm_next", "vmm_faulty": "vmm_faulty"}
VMS = {
    "well": {},
    "dying": {"vmm": "vmm_faulty", "vmm_options": "every=20011 depth=60"},
    "killed": {"test_kill_us": 300000},
}
COMMANDS = ("suspend", "resume", "save", "restore", "reset", "destroy", "start", "vmm-restart", "vmm-swap")
# What must be done and what must be refused, by the VM's state; all else may be either, as VMMs die meanwhile.
MUST = {"running": {"suspend", "destroy", "reset"}, "suspended": {"resume", "destroy", "reset"},
        "shut off": {"start"}, "frozen": {"destroy", "reset"}}
MUST_NOT = {"running": {"start", "resume"}, "suspended": {"suspend", "start"},
            "frozen": {"start", "suspend", "resume", "save"},
            "shut off": {"destroy", "reset", "suspend", "resume", "save", "vmm-restart", "vmm-swap"}}
PASSING = ("restarting", "starting")
# Between looks at whether every VM works.
ROUND = 20
PATIENCE_SECONDS = 60


class Fuzz:
    def __init__(self, machine, seed):
        self.machine = machine
        self.random = random.Random(seed)
        self.counts = {}
        self.history = []

    def ask(self, **request):
        try:
            reply = self.machine.ctl(**request)
        except common.Failure as failure:
            self.fail(f"{request}: {failure}")
        self.history.append(f"{request} -> {reply.get('error') or 'ok'}")
        return reply

    def fail(self, what):
        raise RuntimeError(what + "\nthe last commands:\n" + "\n".join(self.history[-20:]))

    def info(self, vm):
        return self.ask(command="dominfo", vm=vm)["result"]

    def settled(self, vm):
        """Its state, once it is none that passes by itself."""
        end = time.monotonic() + PATIENCE_SECONDS
        while (state := self.info(vm)["state"]) in PASSING:
            if time.monotonic() > end:
                self.fail(f"{vm} is {state} for ever")
            time.sleep(0.02)
        return state

    def act(self):
        vm, command = self.random.choice(list(VMS)), self.random.choice(COMMANDS)
        more = {"module": self.random.choice(list(VMMS))} if command == "vmm-swap" else {}
        state = self.settled(vm)
        self.check_may_be(vm, state)
        reply = self.ask(command=command, vm=vm, **more)
        self.counts[command] = self.counts.get(command, 0) + 1
        # Between the question and the command a VMM may have died.
        passing = any(word in str(reply.get("error")) for word in ("restarted", "is not running", "busy"))
        if command in MUST[state] and not reply["ok"] and not (passing and state == "running"):
            self.fail(f"{command} of {vm}, which was {state}")
        if command in MUST_NOT[state] and reply["ok"]:
            self.fail(f"{command} of {vm}, which was {state}, was done")

    def check_may_be(self, vm, state):
        # An exit that kills two VMMs freezes its VM: that may come to be where they die within exits.
        if state not in MUST or (state == "frozen" and vm != "dying"):
            self.fail(f"{vm} is {state}: {self.info(vm)['reason']}")

    def check_works(self, vm):
        state = self.settled(vm)
        self.check_may_be(vm, state)
        if state == "frozen":
            self.must(command="reset", vm=vm)
        elif state == "suspended":
            self.must(command="resume", vm=vm)
        elif state == "shut off":
            self.must(command="start", vm=vm)
        before = self.info(vm)["exits"]
        end = time.monotonic() + PATIENCE_SECONDS
        while self.info(vm)["exits"] < before + 1000:
            if time.monotonic() > end:
                self.fail(f"{vm} makes no exits: {self.info(vm)}")
            time.sleep(0.02)

    def must(self, **request):
        if not self.ask(**request)["ok"]:
            self.fail(f"{request} was refused")

    def swap(self, vm, module):
        """As often as a VMM that dies meanwhile is in the way."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.ask(command="vmm-swap", vm=vm, module=module)["ok"]:
            if time.monotonic() > end:
                self.fail(f"{vm} cannot have {module}")
            self.check_works(vm)

    def save(self, vm):
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.ask(command="save", vm=vm)["ok"]:
            if time.monotonic() > end:
                self.fail(f"{vm} cannot be saved")
            self.check_works(vm)

    def use_at_rest(self):
        """What is in use with every VM saved once and off."""
        for vm in VMS:
            self.check_works(vm)
            self.must(command="destroy", vm=vm)
        # What came back is cleared at leisure, and what is in hand for that is in use.
        equal, last = 0, None
        while equal < 5:
            time.sleep(0.1)
            now = self.ask(command="nodeinfo")["result"]
            equal, last = equal + 1 if now == last else 0, now
        return last


def manifest(cores):
    vms = []
    for number, (name, keys) in enumerate(VMS.items()):
        vms.append({"name": name, "memory_mib": 4, "kernel": "kernel", "vmm": "vmm", "core": number % cores,
                    "restart_limit": 1000000, "hang_ms": 10000, **keys})
    return json.dumps({"vms": vms, "on_last_vm_off": "stay", "test_exit_port": 244}).encode()


def test(node):
    count, seed = int(node.arguments[0]), int(node.arguments[1])
    modules = [(name, node.program(name)) for name in SERVERS]
    modules += [(name, node.program(program)) for name, program in VMMS.items()]
    modules += [("manifest", manifest(node.options.cores)), ("kernel", node.program("guest_exit_loop"))]
    # Reports of dead VMMs go to a line of their own: they are many.
    log = node.directory / "log"
    with node.boot(modules, arguments=qemu.LOG_OPTION, log=log) as machine:
        while not log.exists() or b"starting guest killed" not in log.read_bytes():
            machine.pause(0.1)
        fuzz = Fuzz(machine, seed)
        # Everything is used once: what init maps for good, it has mapped then.
        for vm in VMS:
            fuzz.check_works(vm)
            for module in VMMS:
                fuzz.swap(vm, module)
            fuzz.save(vm)
        before = fuzz.use_at_rest()
        for number in range(count):
            fuzz.act()
            time.sleep(fuzz.random.choice((0, 0, 0.005, 0.02)))
            if number % ROUND == ROUND - 1:
                for vm in VMS:
                    fuzz.check_works(vm)
        restarts = {vm: fuzz.info(vm)["restarts"] for vm in VMS}
        after = fuzz.use_at_rest()
        print(f"seed {seed}: {count} commands, {fuzz.counts}; VMMs that died since the last start: {restarts}")
        if after != before:
            fuzz.fail(f"in use before: {before}\nin use after: {after}")
        fuzz.must(command="shutdown", timeout=0)
        node.check_off(machine)
