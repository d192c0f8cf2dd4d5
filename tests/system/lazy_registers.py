"""Vector registers, XCR0, DR0 to DR3 and TSC_AUX: guests on one core have each their own, through swaps and a restore."""

import json
import time

import harness

SERVERS = ("init", "pmem", "console", "vmm")


def test(node):
    modules = [(name, node.program(name)) for name in SERVERS]
    vms = [
        {"name": "one", "append": "id=1 rounds=100000"},
        {"name": "two", "append": "id=2 rounds=100000 xcr0=3"},
        {"name": "three", "append": "id=3 rounds=100000"},
    ]
    for vm in vms:
        vm.update(memory_mib=4, kernel="kernel", on_crash="stop")
    modules += [
        ("manifest", json.dumps({"vms": vms, "on_last_vm_off": "stay", "test_exit_port": 244}).encode()),
        ("kernel", node.program("guest_lazy")),
    ]
    with node.boot(modules) as machine:

        def good(**request):
            reply = machine.ctl(**request)
            if not reply["ok"]:
                raise harness.TestFailure(f"{request}: {reply['error']}")

        def domain(name):
            return machine.ctl(command="dominfo", vm=name)["result"]

        # What the guests say would have the node's own lines in its midst; one that found a wrong value crashes.
        while domain("three")["exits"] < 1000:
            time.sleep(0.1)
        for command in ("vmm-restart", "save", "suspend", "resume", "vmm-restart", "restore", "suspend", "resume"):
            good(command=command, vm="three")
        for vm in ("one", "two", "three"):
            while (found := domain(vm)["state"]) == "running":
                time.sleep(0.1)
            if found != "shut off":
                raise harness.TestFailure(f"{vm}: {found}")
        good(command="shutdown")
        node.check_off(machine)
