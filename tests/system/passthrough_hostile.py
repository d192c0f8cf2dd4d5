"""Guests that do with their functions whatever should not work. Argument: the case, see CASES."""

import json
import re

import qemu
from passthrough_node import AMD_VI, EDU, EVENT_LOG_BROKEN, SERVERS, VTD, ask, holders, refusal, settled

DISK = ["-drive", "if=none,id=disk,driver=null-co,read-zeroes=on,size=1048576", "-device", "nvme,drive=disk,serial=1,addr=8"]
TOLD = r"margay: device 0:8\.0 was kept from"
# What the kernel tells at most until a device is given or taken.
MOST_TOLD = 64


def _boot(node, iommu, append, **keys):
    """A VM with an NVMe disk and `edu`, and on the other core one that looks whether its memory stays what it is."""
    vms = [{"name": "hostile", "append": append, "core": 0, "allow_no_reset": True,
            "devices": [{"pci": "0000:00:08.0"}, {"pci": "0000:00:04.0"}]},
           {"name": "neighbour", "append": "neighbour", "core": 1, "console": "detached"}]
    manifest = {"vms": [{"kernel": "kernel", "memory_mib": 32, **vm} for vm in vms], "test_exit_port": 244, **keys}
    modules = [(name, node.program(name)) for name in SERVERS]
    modules += [("manifest", json.dumps(manifest).encode()), ("kernel", node.program("guest_hostile_driver"))]
    return node.boot(modules, arguments=qemu.LOG_OPTION, log=node.directory / "log", extra=[*iommu, *EDU, *DISK], cores=2)


def _log(node):
    return (node.directory / "log").read_text(errors="replace")


def _driver(node, iommu, append, is_told):
    with _boot(node, iommu, append) as machine:
        machine.expect(r"driver checks: \d+ failed")
        ask(machine, command="shutdown", vm="neighbour")
        node.check_off(machine)
        said = "\n".join(machine.lines()) + _log(node)
    assert "FAILED" not in said and "driver checks: 0 failed" in said
    assert bool(re.search(TOLD, said)) == is_told
    assert len(re.findall(r"was kept from", said)) <= 3 * MOST_TOLD


def driver(node):
    """It writes to what interrupts come from as well: QEMU's model refuses that."""
    _driver(node, AMD_VI, "messages", not EVENT_LOG_BROKEN)


def driver_vtd(node):
    _driver(node, VTD, "", True)


def storm(node):
    """A disk that is kept from something all the time: the node answers, tells little of it, and takes the disk back."""
    with _boot(node, VTD, "storm", on_last_vm_off="stay") as machine:
        machine.expect(r"the storm goes")
        for _ in range(50):
            assert settled(machine, "neighbour", "running") and len(holders(machine)) == 2
        ask(machine, command="destroy", vm="hostile")
        assert holders(machine) == {}
        assert refusal(machine, command="shutdown", vm="hostile")
        # It works for whoever has it next.
        ask(machine, command="set", vm="hostile", key="append", value="")
        ask(machine, command="start", vm="hostile")
        machine.expect(r"driver checks: 0 failed")
        ask(machine, command="shutdown", vm="neighbour")
        settled(machine, "neighbour", "shut off")
        machine.ctl(command="shutdown", timeout="0")
        node.check_off(machine)
        said = "\n".join(machine.lines()) + _log(node)
    assert "FAILED" not in said
    assert 1 <= len(re.findall(TOLD, said)) <= MOST_TOLD, said


CASES = [driver, driver_vtd, storm]


def test(node):
    {case.__name__: case for case in CASES}[node.arguments[0]](node)
