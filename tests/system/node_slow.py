"""A node whose host gives it a tenth of the time: nobody is taken to hang, at the start with large files least of all.

The emulator stands still for 90 of every 100 ms, while the node's clock goes on.
"""

import contextlib
import json
import os
import signal
import threading
import time

import harness

SERVERS = ("init", "pmem", "console", "vmm")
RUN_SECONDS, PERIOD_SECONDS = 0.01, 0.1
INITRD_MIB = 40


@contextlib.contextmanager
def slowed(process):
    is_over = threading.Event()

    def keep_slow():
        while not is_over.is_set() and process.poll() is None:
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(PERIOD_SECONDS - RUN_SECONDS)
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(RUN_SECONDS)

    thread = threading.Thread(target=keep_slow)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test(node):
    modules = [(name, node.program(name)) for name in SERVERS]
    vms = [
        {"name": name, "memory_mib": 64, "kernel": "kernel", "initrd": "initrd", "core": 1, "standby": standby}
        for name, standby in (("one", False), ("two", True))
    ]
    modules += [
        ("manifest", json.dumps({"vms": vms, "on_last_vm_off": "stay", "test_exit_port": 244}).encode()),
        ("kernel", node.program("guest_memory")),
        ("initrd", os.urandom(INITRD_MIB << 20)),
    ]
    with node.boot(modules) as machine:
        machine.expect(r"MiB free, SVM")
        with slowed(machine.process):
            for _ in range(2):
                machine.expect(r"guest (one|two) powered off")
            # Once more by the operator's word.
            for vm in ("one", "two"):
                reply = machine.ctl(command="start", vm=vm)
                if not reply["ok"] and "powered off" not in reply["error"]:
                    raise harness.TestFailure(reply)
            for _ in range(2):
                machine.expect(r"guest (one|two) powered off")
            vms = machine.ctl(command="list")["result"]
        if any(vm["restarts"] for vm in vms) or b"VMM of" in machine.output:
            raise harness.TestFailure(f"a VMM was taken to hang: {vms}")
        assert machine.ctl(command="shutdown")["ok"]
        node.check_off(machine)
