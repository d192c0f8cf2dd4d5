"""The node's second serial line answers: by the emulator's socket to the node console."""


def test(node):
    with node.boot() as machine:
        machine.expect(r"^spinning\r?$")
        reply = machine.ctl(command="list")
        assert [vm["state"] for vm in reply["result"]] == ["running"], reply
        # Bochs does not let an interrupt end a guest's run while the guest has its own off, as this one has:
        # nothing can be asked of its core, and the machine is ended from outside.
