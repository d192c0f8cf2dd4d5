"""A guest that computes without exits on a core of its own does not notice that its VMM is replaced."""

import time

import harness


def _domain(machine):
    return machine.ctl(command="dominfo", vm="test")["result"]


def test(node):
    with node.boot() as machine:
        machine.expect(r"^spinning\r?\n")
        # The last character's exit is over when two readings agree.
        before = _domain(machine)
        while (now := _domain(machine))["exits"] != before["exits"]:
            before = now
            time.sleep(0.05)
        for _ in range(3):
            reply = machine.ctl(command="vmm-restart", vm="test")
            if not reply["ok"]:
                raise harness.TestFailure(reply)
        after = _domain(machine)
        if b"done" in machine.output or after["exits"] != before["exits"]:
            raise harness.TestFailure(f"the guest had exits meanwhile: {before}, then {after}")
        # The last successor serves it.
        machine.expect(r"^done\r?\n")
        node.check_off(machine)
        print(f"{after['exits']} exits before and after 3 swaps; the last took {after['blackout_ns']} ns")
