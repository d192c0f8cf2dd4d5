"""Files that reach a running node over its control line. Argument: the case."""

import contextlib
import io
import json
import re

import ctl
import fetch
import harness
import initramfs
import transfer

SERVERS = ("init", "pmem", "console", "vmm")
IN_USE = ("memory_used", "memory_extents", "slots", "windows")


def _check(condition, what):
    if not condition:
        raise harness.TestFailure(what)


def _boot(node, *vms, **options):
    defaults = {"memory_mib": 96, "kernel": "kernel", "initrd": "initrd", "append": "console=ttyS0 quiet", "hang_ms": 20000}
    manifest = {"vms": [{**defaults, **vm} for vm in vms], "on_last_vm_off": "stay", "test_exit_port": 244}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules += [("manifest", json.dumps(manifest).encode())]
    if vms:
        modules += [("kernel", fetch.kernel()), ("initrd", initramfs.base())]
    return node.boot(modules, **options)


def _ctl(machine, *words, replaces=False):
    """As ./margay ctl does it: exit status, what it printed as a reply."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), ctl.Client(machine.control_path, 120) as client:
        if transfer.is_transfer(list(words)):
            status = transfer.command(list(words), replaces, True)(client)
        else:
            status = ctl.command(client, ctl.request(words), True)
    return status, json.loads(output.getvalue())


def _good(machine, *words, **options):
    status, reply = _ctl(machine, *words, **options)
    _check(status == 0 and reply["ok"], f"{words}: {reply}")
    return reply["result"]


def _bad(machine, wanted, *words, **options):
    status, reply = _ctl(machine, *words, **options)
    _check(status != 0 and re.search(wanted, reply["error"]), f"{words}: {reply}")


def vmm(node):
    """A VMM sent over the line takes over a guest that works; it stays as long as it is in use."""
    with _boot(node, {"name": "one"}) as machine:
        machine.expect(r"guest:.*# ")
        machine.send("n=0; while n=$((n+1)); do echo count $n; sleep 1; done\n")
        machine.expect(r"count 2")
        before = _good(machine, "nodeinfo")
        result = _good(machine, "module", "put", "other", str(node.program("vmm_next")))
        _check(result["complete"], result)
        _good(machine, "vmm-swap", "one", "other")
        machine.expect(r"count \d+")
        _check(_good(machine, "dominfo", "one")["vmm"] == "other", "it has another VMM")
        _bad(machine, "in use by one", "module", "remove", "other")
        _bad(machine, "other contents", "module", "put", "other", str(node.program("vmm")))
        _bad(machine, "in use by one", "module", "put", "other", str(node.program("vmm")), replaces=True)
        _bad(machine, "other contents", "module", "put", "vmm", str(node.program("vmm_next")))
        _good(machine, "vmm-swap", "one", "vmm")
        _good(machine, "module", "remove", "other")
        after = _good(machine, "nodeinfo")
        _check(all(before[key] == after[key] for key in IN_USE), f"{before} {after}")
        machine.expect(r"count \d+")
        _good(machine, "shutdown")
        node.check_off(machine)


def test(node):
    globals()[node.arguments[0]](node)
