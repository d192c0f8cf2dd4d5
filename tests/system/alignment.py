"""A guest whose #AC raises itself for ever takes nothing from another one on its core, and an operator can end it."""

import harness


def _domain(machine):
    return machine.ctl(command="dominfo", vm="endless")["result"]


def test(node):
    with node.boot() as machine:
        # Nobody else speaks until then: the node's own line might come in the midst of this one.
        machine.expect(r"^alignment: begins\r?\n")
        reply = machine.ctl(command="start", vm="worker")
        # It may have come to its end before the answer.
        if not reply["ok"] and "powered off" not in reply["error"]:
            raise harness.TestFailure(reply)
        machine.expect(r"guest worker powered off")
        before, after = _domain(machine), _domain(machine)
        # It goes on, without an exit that its VMM sees: the kernel gives each #AC back.
        if before["state"] != "running" or after["exits"] != before["exits"]:
            raise harness.TestFailure(f"the endless guest: {before}, then {after}")
        if b"does not check alignment" in machine.output:
            raise harness.TestFailure("there was no #AC")
        reply = machine.ctl(command="destroy", vm="endless")
        if not reply["ok"]:
            raise harness.TestFailure(reply)
        # It was the last one.
        node.check_off(machine)
