"""A VM with more memory than any extent, again and again: it gets it cleared, and nothing is lost."""

import time

import harness

EQUAL = 4  # readings in a row


def in_use(machine):
    """What is in use when nothing changes any more: a VM's memory comes back in pieces, after the guest's end."""
    equal, last = 0, None
    while equal < EQUAL:
        time.sleep(0.1)
        now = machine.ctl(command="nodeinfo")["result"]
        equal, last = equal + 1 if now == last else 0, now
    return last


def test(node):
    with node.boot() as machine:
        words = 480 - 16
        used = None
        for run in range(5):
            if run:
                reply = machine.ctl(command="start", vm="test")
                # It may have come to its end before the answer.
                if not reply["ok"] and "powered off" not in reply["error"]:
                    raise harness.TestFailure(reply)
            machine.expect(rf"^memory: {words} MiB, 0 wrong, 0 left over\r?\n")
            machine.expect(r"guest test powered off")
            before, used = used, in_use(machine)
            # The first VM makes init map its VMM's image, which stays.
            if run > 1 and used != before:
                raise harness.TestFailure(f"in use after run {run}: {used}, before: {before}")
        assert machine.ctl(command="shutdown", timeout=0)["ok"]
        node.check_off(machine)
