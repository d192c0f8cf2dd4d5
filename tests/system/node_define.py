"""VMs that come and go while the node runs: defined, started, used, ended and undefined, three times over.

Argument: how many at a time.
"""

import collections
import json
import time

SERVERS = ("init", "pmem", "console", "vmm")
IN_USE = ("memory_used", "memory_extents", "slots", "windows")
READINGS = 20  # alike, of what is taken for lasting


def in_use(machine):
    info = good(machine, command="nodeinfo")
    return {key: info[key] for key in IN_USE}


def good(machine, **request):
    reply = machine.ctl(**request)
    if not reply["ok"]:
        raise RuntimeError(f"{request}: {reply['error']}")
    return reply["result"]


def bad(machine, wanted, **request):
    reply = machine.ctl(**request)
    if reply["ok"] or wanted not in reply["error"]:
        raise RuntimeError(f"{request}: {reply}")


def definition(name):
    # As a person writes it, with a comment.
    return f'// one of many\n{{"name": "{name}", "memory_mib": 4, "kernel": "kernel", "core": 1, "console": "detached",}}\n'


def wait_until(condition):
    # As long as the test's own limit lets it.
    while not condition():
        time.sleep(0.05)


def in_use_at_rest(machine):
    """What is in use when nothing is on its way back: that lasts, and what is on its way does not."""
    seen = collections.Counter()
    while not seen or max(seen.values()) < READINGS:
        seen[tuple(in_use(machine).values())] += 1
        time.sleep(0.02)
    return dict(zip(IN_USE, max(seen, key=seen.get)))


def settle(machine, wanted):
    """What the console has to let go of comes back a moment later."""
    now = None
    while now != wanted:
        try:
            now = in_use(machine)
        except TimeoutError:
            raise TimeoutError(f"in use is {now} and not {wanted}") from None
        time.sleep(0.05)


def round_of(machine, count):
    names = [f"vm{i}" for i in range(count)]
    for name in names:
        good(machine, command="define", config=definition(name))
    bad(machine, "of that name already", command="define", config=definition("vm0"))
    assert [vm["name"] for vm in good(machine, command="list")] == names
    for name in names:
        result = good(machine, command="start", vm=name)
        assert result["vm"]["state"] == "running", result
    bad(machine, "it is active", command="undefine", vm="vm0")
    # Each has its turn.
    wait_until(lambda: all(vm["exits"] > 1 for vm in good(machine, command="list")))
    good(machine, command="vmm-restart", vm=names[-1])
    for name in names:
        good(machine, command="destroy", vm=name)
    # In another order than they came.
    for name in names[::2] + names[1::2]:
        good(machine, command="undefine", vm=name)
    assert good(machine, command="list") == []


def test(node):
    count = int(node.arguments[0])
    modules = [(name, node.program(name)) for name in SERVERS]
    modules.append(("manifest", json.dumps({"vms": [], "on_last_vm_off": "stay", "test_exit_port": 244}).encode()))
    modules.append(("kernel", node.program("guest_idle")))
    with node.boot(modules) as machine:
        wait_until(lambda: machine.ctl(command="list")["ok"])
        bad(machine, 'line 1, key "kernel": a VM must have a kernel', command="define", config='{"name": "x"}')
        bad(machine, "unknown key", command="define", config='{"name": "x", "kernel": "kernel", "colour": 1}')
        bad(machine, "one VM", command="define", config=" ")
        bad(machine, "one VM", command="define", config='{"name":"x","kernel":"k"},{"name":"y","kernel":"k"}')
        bad(machine, "define needs JSON", command="define")
        bad(machine, "there is no", command="undefine", vm="x")
        # The first round makes tables grow that are kept.
        round_of(machine, count)
        before = in_use_at_rest(machine)
        for _ in range(2):
            round_of(machine, count)
            settle(machine, before)
        good(machine, command="shutdown")
        node.check_off(machine)
