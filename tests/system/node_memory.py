"""A VM with more memory than any extent, again and again: it gets it cleared, and nothing is lost."""

import harness


def test(node):
    with node.boot() as machine:
        words = 480 - 16
        for run in range(5):
            if run:
                reply = machine.ctl(command="start", vm="test")
                # It may have come to its end before the answer.
                if not reply["ok"] and "powered off" not in reply["error"]:
                    raise harness.TestFailure(reply)
            machine.expect(rf"^memory: {words} MiB, 0 wrong, 0 left over\r?\n")
            machine.expect(r"guest test powered off")
        assert machine.ctl(command="shutdown")["ok"]
        node.check_off(machine)
