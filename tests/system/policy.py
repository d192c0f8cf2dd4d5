"""Policies come, answer, fail and go while the guest runs. Argument: the case, see CASES."""

import json

import fetch
import initramfs
import qemu

SERVERS = ("init", "pmem", "console", "vmm", "policy_count", "policy_cpuid", "policy_faulty")
# Linux works until it is told to end.
WORK = ("exec </dev/ttyS0; stty -echo; echo begin; (read line </dev/ttyS0; touch /tmp/told) & "
        "n=0; until [ -e /tmp/told ]; do n=$((n + 1)); echo $n; sleep 0.01; done; echo end")
ROUNDS = 100


def _boot(node, of_node=None, **keys):
    vm = {"name": "g", "memory_mib": 64, "core": node.options.cores - 1, "hang_ms": 5000, "kernel": "kernel", **keys}
    modules = [(name, node.program(name)) for name in SERVERS]
    if "initrd" in vm:
        modules += [("kernel", fetch.kernel()), ("initrd", initramfs.with_command(initramfs.base(), WORK))]
    else:
        modules.append(("kernel", node.program("guest_policy")))
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": 244, **(of_node or {})}).encode()))
    return node.boot(modules, arguments=qemu.LOG_OPTION, log=node.directory / "log")


def _good(machine, **request):
    reply = machine.ctl(**request)
    if not reply["ok"]:
        raise RuntimeError(f"{request}: {reply}")
    return reply["result"]


def _attach(machine, rows):
    _good(machine, command="policy-attach", vm="g", rows=rows)


def _attach_to_fail(machine, rows):
    """One that fails soon: before the answer, or after it."""
    reply = machine.ctl(command="policy-attach", vm="g", rows=rows)
    if not reply["ok"] and reply["kind"] != "failed":
        raise RuntimeError(f"{rows}: {reply}")


def _detach(machine, module):
    _good(machine, command="policy-detach", vm="g", module=module)


def _refused(machine, kind, text, **request):
    reply = machine.ctl(**request)
    if reply["ok"] or reply["kind"] != kind or text not in reply["error"]:
        raise RuntimeError(f"{request}: {reply}, not '{text}'")


def _one(machine):
    policies = _good(machine, command="policies")
    if len(policies) != 1:
        raise RuntimeError(f"not one policy: {policies}")
    return policies[0]


def _answers(node):
    """One that answers, and what is refused; it goes with its VM and comes again with it."""
    with _boot(node, {"on_last_vm_off": "stay"}) as machine:
        before = machine.expect(r"^leaf \w+ \w+ \w+ \w+").group().decode()
        _attach(machine, "cpuid policy_cpuid with-state 40000100:0=1,2,3,4")
        machine.expect(r"^leaf 1 2 3 4")
        _refused(machine, "state", "that policy already", command="policy-attach", vm="g", rows="port policy_cpuid")
        _refused(machine, "state", "exits of class cpuid", command="policy-attach", vm="g", rows="port,cpuid policy_count")
        _refused(machine, "usage", "no exit class 'cpu'", command="policy-attach", vm="g", rows="cpu policy_count")
        _refused(machine, "usage", "MODULE", command="policy-attach", vm="g", rows="cpuid")
        _refused(machine, "not found", "no module 'nothing'", command="policy-attach", vm="g", rows="port nothing")
        _refused(machine, "not found", "no such policy", command="policy-detach", vm="g", module="policy_count")
        if _one(machine)["figures"].get("answered", 0) < 1:
            raise RuntimeError("nothing was answered")
        _detach(machine, "policy_cpuid")
        machine.expect("^" + before)
        _refused(machine, "failed", "the options are LEAF", command="policy-attach", vm="g", rows="cpuid policy_cpuid nonsense")
        _detach(machine, "policy_cpuid")
        # No program of that kind.
        _refused(machine, "failed", "", command="policy-attach", vm="g", rows="cpuid manifest")
        _detach(machine, "manifest")
        # Without the right to state it cannot answer: the write faults, and the VMM answers.
        _attach_to_fail(machine, "cpuid policy_cpuid 40000100:0=5,6,7,8")
        while _one(machine)["state"] != "failed":
            pass
        _detach(machine, "policy_cpuid")
        _attach(machine, "cpuid policy_cpuid with-state 40000100:0=1,2,3,4")
        machine.expect(r"^leaf 1 2 3 4")
        _good(machine, command="reset", vm="g")
        machine.expect(r"^leaf 1 2 3 4")
        # Attached while the VM is off: the VMM has the first exits before there is a policy.
        _good(machine, command="destroy", vm="g")
        _detach(machine, "policy_cpuid")
        _attach(machine, "all policy_count")
        if _one(machine)["state"] != "off":
            raise RuntimeError(f"the VM is off: {_one(machine)}")
        _good(machine, command="start", vm="g")
        while (policy := _one(machine))["state"] != "attached" or not policy["figures"]:
            if policy["state"] == "failed":
                raise RuntimeError(f"it was blamed for the VMM's start: {policy}")
        _detach(machine, "policy_count")
        _good(machine, command="shutdown", timeout="0")
        node.check_off(machine)
    if b"leaf 5" in machine.output:
        raise RuntimeError("a policy without the right to state answered with state")


def _faults(node):
    """It dies, hangs, lies and scribbles; the guest goes on, and its VMM is not blamed."""
    with _boot(node, hang_ms=1000) as machine:
        machine.expect(r"^leaf ")
        for how, why in (("die", "fault"), ("hang", "hangs"), ("lie", "fault")):
            _attach_to_fail(machine, f"cpuid policy_faulty {how}")
            while (policy := _one(machine))["state"] != "failed":
                pass
            if why not in policy["report"]:
                raise RuntimeError(f"not '{why}': {policy}")
            _detach(machine, "policy_faulty")
        _attach(machine, "cpuid policy_faulty scribble")
        while "?" not in _one(machine)["report"]:
            pass
        _detach(machine, "policy_faulty")
        vm = _good(machine, command="dominfo", vm="g")
        if vm["restarts"] != 0 or vm["state"] != "running":
            raise RuntimeError(f"the VMM was blamed: {vm}")
        _attach(machine, "cpuid policy_cpuid with-state 40000100:0=e0d,2,3,4")
        node.check_off(machine)


def _linux(node):
    """Under a Linux that works, policies and VMMs are replaced a hundred times; its output stays what it should be."""
    cpus = list(range(node.options.cores))
    with _boot(node, initrd="initrd", memory_mib=128, append="console=ttyS0 quiet", cpus=cpus,
               restart_limit=1000) as machine:
        machine.expect(r"^begin")
        for n in range(ROUNDS):
            how = ("all policy_count", "all policy_faulty die")[n % 2]
            _attach_to_fail(machine, how)
            if n % 10 == 5:
                _good(machine, command="vmm-restart", vm="g")
            if n % 4 == 3:
                while _one(machine)["state"] != "failed":
                    pass
            _detach(machine, how.split()[1])
        machine.send("\n")
        end = machine.expect(r"^end\r?$").start()
        node.check_off(machine)
    lines = machine.output[:end].rpartition(b"begin\r\n")[2].split()
    if not lines or lines != [b"%d" % n for n in range(1, len(lines) + 1)]:
        raise RuntimeError("the guest's output is not what it should be")


CASES = {"answers": _answers, "faults": _faults, "linux": _linux}


def test(node):
    CASES[node.arguments[0]](node)
