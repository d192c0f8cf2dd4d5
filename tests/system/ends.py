"""What becomes of a VM whose guest ends without powering off, and of one whose definition is changed. Argument: the
case, see CASES."""

import collections
import json
import re

import fetch
import initramfs

SERVERS = ("init", "pmem", "console", "vmm")
RESETS = ("cf9", "acpi", "keyboard", "port92")


def boot(node, vms, guests=("guest_resets", "guest_idle", "guest_power_button"), linux=False, **keys):
    modules = [(name, node.program(name)) for name in SERVERS]
    defaults = {"memory_mib": 4, "kernel": guests[0], "console": "detached", "core": node.options.cores - 1}
    manifest = {"vms": [{**defaults, **vm} for vm in vms], "test_exit_port": 244, **keys}
    modules.append(("manifest", json.dumps(manifest).encode()))
    modules += [(name, node.program(name)) for name in guests]
    if linux:
        modules += [("kernel", fetch.kernel()), ("initrd", initramfs.base())]
    return node.boot(modules)


def good(machine, **request):
    reply = machine.ctl(**request)
    assert reply["ok"], (request, reply)
    return reply["result"]


def refused(machine, kind, text, **request):
    reply = machine.ctl(**request)
    assert not reply["ok"] and reply["kind"] == kind and text in reply["error"], (request, reply)


def state_of(machine, name):
    return good(machine, command="dominfo", vm=name)["state"]


def said(machine, pattern):
    return collections.Counter(found[1] for line in machine.lines() if (found := re.search(pattern, line)))


def guests(node):
    """Each way to end, as often as the limit lets it begin anew; then with the policy that does not."""
    limits = {"restart_limit": 2, "restart_window_ms": 86400000}
    ways = (*RESETS, "triple", "halt", "off")
    vms = [{"name": way, "append": way, **limits} for way in ways]
    vms += [{"name": "stop-" + way, "append": way, "on_reset": "stop", "on_crash": "stop"} for way in ways]
    # Each is told from the other.
    vms += [{"name": "other-cf9", "append": "cf9", "on_crash": "stop", **limits},
            {"name": "other-triple", "append": "triple", "on_reset": "stop", **limits}]
    with boot(node, vms) as machine:
        node.check_status(machine, 35)
        anew = said(machine, r"guest (\S+) ended after \d+ exits and is started anew: (?:it reset itself|triple fault)$")
        wanted = [*RESETS, "triple", "other-cf9", "other-triple"]
        assert anew == {name: 2 for name in wanted}, anew
        failed = said(machine, r"guest (\S+) failed: ")
        assert failed == {name: 1 for name in [*wanted, "halt", *["stop-" + way for way in ways if way != "off"]]}, failed
        off = said(machine, r"guest (\S+) powered off")
        assert off == {"off": 1, "stop-off": 1}, off


def linux(node):
    """`reboot -f`, a panic, and then it still works."""
    vm = {"name": "linux", "memory_mib": 128, "kernel": "kernel", "initrd": "initrd", "console": "attached",
          "append": "console=ttyS0 quiet panic=3"}
    with boot(node, [vm], linux=True) as machine:
        for end in ("reboot -f", "echo c > /proc/sysrq-trigger", "echo b > /proc/sysrq-trigger"):
            machine.expect(r"guest:.*# ")
            machine.send(end + "\n")
            machine.expect(r"guest linux ended after \d+ exits and is started anew: it reset itself")
        machine.expect(r"guest:.*# ")
        machine.send("echo sum $((40 + 2)); poweroff -f\n")
        machine.expect(r"^sum 42\r?$")
        node.check_off(machine)


def change(node):
    """`set` and `autostart`: what may change when, and that it has its effect."""
    vms = [{"name": "a", "kernel": "guest_power_button", "append": "presses=1"},
           {"name": "b", "autostart": False, "append": "triple", "on_crash": "stop"}]
    with boot(node, vms, on_last_vm_off="stay") as machine:
        machine.expect(r"starting guest a")
        while state_of(machine, "a") != "running":
            pass
        assert state_of(machine, "b") == "shut off"
        assert not any("starting guest b" in line for line in machine.lines())
        result = good(machine, command="set", vm="a", key="hang_ms", value=200)
        assert result["message"] == "VM 'a': hang_ms is now 200", result
        result = good(machine, command="set", vm="a", key="vmm", value="vmm")
        assert result["message"].endswith("is now vmm; it takes effect at the next start"), result
        for key, value in (("restart_limit", "3"), ("standby", True), ("standby", "false"), ("on_reset", "stop"),
                           ("on_freeze", "stop"), ("vmm_fallback", ""), ("start_ms", "600000")):
            good(machine, command="set", vm="a", key=key, value=value)
        good(machine, command="autostart", vm="a", state="off")
        refused(machine, "usage", "autostart is on or off", command="autostart", vm="a", state="yes")
        refused(machine, "usage", "no key 'colour'", command="set", vm="a", key="colour", value="red")
        refused(machine, "usage", "'name' cannot be changed", command="set", vm="a", key="name", value="c")
        refused(machine, "usage", "hang_ms: must be 10 to 600000 ms", command="set", vm="a", key="hang_ms", value=9)
        refused(machine, "usage", "standby: must be true or false", command="set", vm="a", key="standby", value="")
        refused(machine, "state", "while the VM is off", command="set", vm="a", key="append", value="x")
        refused(machine, "not found", "no VM", command="set", vm="c", key="append", value="x")
        refused(machine, "usage", "set needs VALUE", command="set", vm="a", key="append")
        # It crashes; then it is another program, with more memory, and hears its button. Whether it ran for long enough
        # to be seen running before that is the machine's affair; a start that saw it crash says so.
        reply = machine.ctl(command="start", vm="b")
        assert reply["ok"] or (reply["kind"], reply["error"]) == ("failed", "the guest ended: triple fault"), reply
        machine.expect(r"guest b failed: triple fault")
        refused(machine, "usage", "must have a kernel", command="set", vm="b", key="kernel", value="")
        for key, value in (("kernel", "guest_power_button"), ("append", "presses=1"), ("memory_mib", "8")):
            result = good(machine, command="set", vm="b", key=key, value=value)
            assert result["message"].endswith("; it takes effect at the next start"), result
        assert good(machine, command="start", vm="b")["vm"]["memory_mib"] == 8
        while good(machine, command="dominfo", vm="b")["exits"] < 20:
            pass
        for vm in ("a", "b"):
            good(machine, command="shutdown", vm=vm)
            machine.expect(rf"guest {vm} powered off")
        good(machine, command="shutdown")
        node.check_off(machine)


def many(node):
    """A manifest with as many VMs as a node has places for; only some are started."""
    vms = [{"name": f"vm{i}", "kernel": "guest_idle", "autostart": i % 16 == 0} for i in range(254)]
    with boot(node, vms, on_last_vm_off="stay") as machine:
        while not machine.ctl(command="list")["ok"]:
            pass
        listed = good(machine, command="list")
        assert [vm["name"] for vm in listed] == [vm["name"] for vm in vms]
        while any((vm["state"] == "running") != (int(vm["name"][2:]) % 16 == 0) for vm in good(machine, command="list")):
            pass
        refused(machine, "resources", "254 VMs", command="define", config='{"name": "x", "kernel": "guest_idle"}')
        assert good(machine, command="start", vm="vm253")["vm"]["state"] == "running"
        good(machine, command="undefine", vm="vm252")
        good(machine, command="define", config='{"name": "x", "kernel": "guest_idle", "memory_mib": 4}')
        good(machine, command="shutdown", timeout=0)
        node.check_off(machine)


CASES = {"guests": guests, "linux": linux, "change": change, "many": many}


def test(node):
    CASES[node.arguments[0]](node)
