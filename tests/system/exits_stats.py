"""A guest that makes known numbers of exits, and what the node counts: VMMs die in them, are replaced, and the guest is reset.
Argument: how many vCPUs."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tools"))

import ctl
import exits
import prometheus
import qemu


def boot(node, cpus):
    common = {"memory_mib": 64, "kernel": "kernel", "on_reset": "stop", "on_crash": "stop"}
    # Each vCPU's exits of these numbers kill the VMM, before they are handled: the first among its CPUIDs.
    test = {"name": "test", **common, "cpus": [cpus - 1] * cpus, "append": f"cpus={cpus}", "vmm": "vmm_mortal",
            "vmm_options": "every=900 offset=250", "restart_limit": 1000000}
    other = {"name": "other", **common, "autostart": False, "console": "detached"}
    manifest = json.dumps({"vms": [test, other], "test_exit_port": 244}).encode()
    modules = [(name, node.program(name)) for name in ("init", "pmem", "console", "vmm", "vmm_mortal")]
    modules += [("manifest", manifest), ("kernel", node.program("guest_exits"))]
    # Reports of deaths go elsewhere: the guest's lines are whole.
    return node.boot(modules, arguments=qemu.LOG_OPTION, log=node.directory / "log")


def expected(rounds, cpus):
    found = {(0, "cpuid"): 1000 * rounds, (0, "hypercall"): 70 * rounds, (0, "startup"): 1}
    if cpus == 2:
        found |= {(1, "cpuid"): 300 * rounds, (1, "startup"): 1}
    return found


def check(client, rounds, cpus):
    """Exactly that many, by each way to ask; and each took time."""
    found = exits.counts(exits.gather(client, "test"))
    for (cpu, name), number in expected(rounds, cpus).items():
        count = found["test", cpu, name]
        assert count.exits == number, (rounds, cpu, name, count)
        assert count.ns > 0, (cpu, name, count)
    if cpus == 1:
        assert all(cpu == 0 for _, cpu, _ in found), found
    metrics = prometheus.parse(exits.metrics(client))
    for (cpu, name), number in expected(rounds, cpus).items():
        labels = {"vm": "test", "vcpu": cpu, "class": name}
        assert prometheus.value(metrics, "margay_exits_total", **labels) == number, (cpu, name)
        assert prometheus.value(metrics, "margay_exit_seconds_total", **labels) > 0, (cpu, name)
    assert prometheus.value(metrics, "margay_vm_up", vm="test") == 1
    assert prometheus.value(metrics, "margay_vms", state="shut_off") == 1
    return found, metrics


def never_less(client):
    """The guest polls for what is typed, exit after exit; two vCPUs share another core than that of those who look."""
    last = {}
    for _ in range(20):
        now = exits.counts(exits.gather(client, "test"))
        for key, count in last.items():
            assert now[key].exits >= count.exits and now[key].ns >= count.ns, (key, count, now[key])
        last = now
    assert last["test", 0, "port"].exits > 20, last


def good(client, **request):
    """What is refused because a VMM is just being replaced is asked for again."""
    while True:
        reply = client.ask(request)[1]
        if reply.get("kind") != "busy":
            assert reply["ok"], (request, reply)
            return reply["result"]


def test(node):
    cpus = int(node.arguments[0])
    with boot(node, cpus) as machine, ctl.Client(machine.control_path, 120) as client:
        machine.expect(r"^round 1\r?$")
        before, _ = check(client, 1, cpus)
        never_less(client)
        good(client, command="vmm-restart", vm="test")
        machine.send("x")
        machine.expect(r"^round 2\r?$")
        now, metrics = check(client, 2, cpus)
        assert prometheus.value(metrics, "margay_vmm_restarts_total", vm="test") > 2, "no VMM died"
        assert all(now[key].exits >= count.exits and now[key].ns >= count.ns for key, count in before.items())
        # At rest nothing changes, and all exits are exits of some class.
        good(client, command="suspend", vm="test")
        while True:
            still = exits.counts(exits.gather(client, "test"))
            total = good(client, command="list")[0]["exits"]
            if exits.counts(exits.gather(client, "test")) == still:
                break
        assert sum(count.exits for (_, _, name), count in still.items() if not name.startswith(exits.KERNEL)) == total
        good(client, command="resume", vm="test")
        # Another guest's exits begin at 0.
        good(client, command="reset", vm="test")
        machine.expect(r"^round 1\r?$")
        check(client, 1, cpus)
        reply = client.ask({"command": "exits", "vm": "other"})[1]
        assert not reply["ok"] and reply["kind"] == "state", reply
        good(client, command="destroy", vm="test")
        node.check_off(machine)
