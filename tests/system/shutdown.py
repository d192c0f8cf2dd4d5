"""Power buttons: `ctl shutdown VM`, and `ctl shutdown`, which presses those of all. Argument: the case, see CASES."""

import json

import fetch
import initramfs
import qemu

SERVERS = ("init", "pmem", "console", "vmm")


def boot(node, *vms, says_apart=False, **keys):
    """A node with these VMs. says_apart: what the servers say goes elsewhere than the guests' output."""
    modules = [(name, node.program(name)) for name in (*SERVERS, "vmm_faulty", "vmm_next")]
    defaults = {"memory_mib": 16, "kernel": "guest_power_button", "console": "detached"}
    manifest = {"vms": [{**defaults, **vm} for vm in vms], "test_exit_port": 244, **keys}
    modules.append(("manifest", json.dumps(manifest).encode()))
    modules += [(name, node.program(name)) for name in ("guest_power_button", "guest_idle")]
    modules += [("kernel", fetch.kernel()), ("initrd", initramfs.base())]
    if says_apart:
        return node.boot(modules, arguments=qemu.LOG_OPTION, log=node.directory / "log")
    return node.boot(modules)


LINUX = {"name": "linux", "memory_mib": 128, "kernel": "kernel", "initrd": "initrd", "console": "attached",
         "append": "console=ttyS0 quiet"}


def good(machine, **request):
    reply = machine.ctl(**request)
    assert reply["ok"], (request, reply)
    return reply["result"]


def refused(machine, kind, **request):
    reply = machine.ctl(**request)
    assert not reply["ok"] and reply["kind"] == kind, (request, reply)


def button(node):
    """A press is state: no death, restart, swap or restored copy makes it unseen or seen twice."""
    vm = {"name": "g", "append": "presses=7", "console": "attached", "vmm": "vmm_faulty", "restart_limit": 1000000,
          # It dies at every exit, every other time behind the handler: also at those that bring a press.
          "vmm_options": "every=2 offset=0", "vmm_fallback": "vmm"}
    with boot(node, vm, says_apart=True) as machine:
        machine.expect(r"^button ready")
        for n in (1, 2):
            result = good(machine, command="shutdown", vm="g")
            assert result["message"] == "The power button of VM 'g' was pressed", result
            assert result["vm"]["state"] in ("running", "restarting"), result
            machine.expect(rf"^button {n}\r?$")
        # At the same time as another VMM takes over, with the layout of another build.
        for n, module in ((3, "vmm_next"), (4, "vmm"), (5, "vmm_next")):
            machine.ctl_bytes(b'\n{"command": "shutdown", "vm": "g"}\n')
            # The faulty one may just have died.
            while (reply := machine.ctl(command="vmm-swap", vm="g", module=module)).get("kind") == "busy":
                machine.pause(0.05)
            assert reply["ok"], reply
            machine.expect(rf"^button {n}\r?$")
        # What stands still cannot power off.
        good(machine, command="suspend", vm="g")
        refused(machine, "state", command="shutdown", vm="g")
        refused(machine, "usage", command="shutdown", vm="g", timeout="1")
        good(machine, command="resume", vm="g")
        good(machine, command="save", vm="g")
        good(machine, command="shutdown", vm="g")
        machine.expect(r"^button 6\r?$")
        # Back to before that press: this guest has not seen it, and its next one is seen.
        good(machine, command="restore", vm="g")
        good(machine, command="shutdown", vm="g")
        machine.expect(r"^button 6\r?$")
        good(machine, command="shutdown", vm="g")
        machine.expect(r"^button 7\r?$")
        node.check_off(machine)


def linux(node):
    """The default guest powers itself off, in the middle of what its user does."""
    with boot(node, LINUX) as machine:
        machine.expect(r"guest:.*# ")
        machine.send("echo begun; sleep 1000\n")
        machine.expect(r"^begun\r?$")
        good(machine, command="shutdown", vm="linux")
        machine.expect(r"the power button was pressed")
        machine.expect(r"guest linux powered off")
        node.check_off(machine)


def whole_node(node):
    """Guests that can power off do, as long as they take; one that does not hear goes with the node."""
    with boot(node, LINUX, {"name": "deaf", "kernel": "guest_idle"}, {"name": "still", "kernel": "guest_idle"},
              on_last_vm_off="stay") as machine:
        machine.expect(r"guest:.*# ")
        good(machine, command="suspend", vm="still")
        refused(machine, "usage", command="shutdown", timeout="soon")
        refused(machine, "usage", command="shutdown", timeout=86401)
        # Nobody waits for these an hour: the one is destroyed, the other stands still.
        good(machine, command="shutdown", timeout=3600)
        machine.expect(r"guest linux powered off")
        refused(machine, "state", command="start", vm="linux")
        assert good(machine, command="dominfo", vm="deaf")["state"] == "running"
        good(machine, command="shutdown", timeout="1")
        machine.expect(r"guest deaf did not power off and goes with the node")
        node.check_off(machine)
        assert not any("guest still did not" in line for line in machine.lines())
    with boot(node, {"name": "deaf", "kernel": "guest_idle"}, {"name": "g"}) as machine:
        while not machine.ctl(command="list")["ok"]:
            pass
        good(machine, command="shutdown")
        good(machine, command="destroy", vm="deaf")
        machine.expect(r"guest g powered off")
        node.check_off(machine)
    with boot(node, {"name": "deaf", "kernel": "guest_idle"}) as machine:
        while machine.ctl(command="list")["result"][0]["state"] != "running":
            pass
        good(machine, command="shutdown", timeout=0)
        node.check_off(machine)
        assert not any("did not power off" in line for line in machine.lines())


CASES = {"button": button, "linux": linux, "node": whole_node}


def test(node):
    CASES[node.arguments[0]](node)
