"""The node's second serial line answers: by the emulator's socket to the node console. What spins is ended by it."""


def test(node):
    with node.boot() as machine:
        machine.expect(r"^spinning\r?$")
        reply = machine.ctl(command="list")
        assert [vm["state"] for vm in reply["result"]] == ["running"], reply
        assert machine.ctl(command="suspend", vm="test")["ok"]
        assert machine.ctl(command="resume", vm="test")["ok"]
        assert machine.ctl(command="destroy", vm="test")["ok"]
        node.check_off(machine)
