"""One boot whose figures are taken: a node with counted instructions, where a tick of the time-stamp counter is one
instruction and one virtual nanosecond (QEMU's -icount shift=0). It prints lines

    bench: KEY VALUE UNIT REPEATS {"cr3_writes": 2, …}

where the last part counts privileged operations on the measured path and may be missing.
"""

import json
import pathlib
import re
import tempfile
import time

import common
import image
import qemu

LINE = re.compile(r"^bench: (\S+) (-?[0-9.]+) (\S+) ([0-9]+)(?: (\{.*\}))?\s*$")


def _module(text):
    name, _, what = text.partition("=")
    return (name, what.removeprefix("text:").encode()) if what.startswith("text:") else (name, what)


def figure(value, unit, repeats=1, privileged=None):
    return {"value": value, "unit": unit, "repeats": repeats, "privileged": privileged or {}}


def _number(text):
    return float(text) if "." in text else int(text)


def boot(kernel, modules, arguments, memory, timeout, what, drive=None, cores=1, options=()):
    """Boots one node with counted instructions; its figures, and its console lines.

    drive: called with the running machine. options: more of them for QEMU.
    """
    with tempfile.TemporaryDirectory(prefix="margay-") as directory:
        iso = pathlib.Path(directory, "bench.iso")
        image.make(iso, kernel, modules, arguments)
        line = [*qemu.command(iso, memory, cores, icount=True), *options]
        with qemu.Captured(line, timeout) as machine:
            try:
                if drive:
                    drive(machine)
                problem = machine.end().reason
            except (TimeoutError, EOFError) as error:
                problem = str(error)
            lines = machine.lines()
    if problem:
        raise common.Failure("\n".join([*lines[-20:], f"measuring {what}: {problem}"]))
    found = {}
    for line in lines:
        matched = LINE.match(line)
        if matched:
            key, value, unit, repeats, privileged = matched.groups()
            found[key] = figure(_number(value), unit, int(repeats), json.loads(privileged or "{}"))
    return found, lines


SWAPS = 5


def _swap(machine):
    """Replaces the VMM of the guest `test` a few times, then tells the guest that this was it."""
    machine.expect(r"^ready")
    # Whoever opens the line brings the node's reader to the beginning of a frame; no swap is part of that.
    machine.ctl(command="list")
    for _ in range(SWAPS):
        # The guest tells one swap from the next by a pause of 2 ms, of its time: 10 times as much and more even
        # on a busy machine.
        time.sleep(1)
        reply = machine.ctl(command="vmm-restart", vm="test")
        if not reply["ok"]:
            raise common.Failure(f"measuring a swap: {reply['error']}")
    time.sleep(1)
    machine.send("\n")


def _ask(machine, command, vm):
    reply = machine.ctl(command=command, vm=vm)
    if not reply["ok"]:
        raise common.Failure(f"measuring a neighbour: {command}: {reply['error']}")


def _provoked(before, meanwhile, after=()):
    """A drive: commands for neighbours of the guest `test`, before its VMM begins to die again and again,
    meanwhile, and after that."""

    def drive(machine):
        machine.expect(r"^ready")
        for command, vm in before:
            _ask(machine, command, vm)
        machine.send("\n")
        machine.expect(r"^alone")
        for command, vm in meanwhile:
            _ask(machine, command, vm)
        machine.send("\n")
        for command, vm in after:
            _ask(machine, command, vm)

    return drive


def _policy(machine):
    """Attaches a policy that answers a leaf of CPUID."""
    machine.expect(r"^ready")
    reply = machine.ctl(command="policy-attach", vm="bench", rows="cpuid policy_cpuid with-state 40000100:0=1,2,3,4")
    if not reply["ok"]:
        raise common.Failure(f"attaching a policy: {reply['error']}")


# Two of 2 GiB, that had the memory before: not all that they get is clean.
STARTS = [("start", "a"), ("start", "b")]
ENDS = [("destroy", "a"), ("destroy", "b")]
# What happens to a run from outside (tests/bench/CMakeLists.txt).
DRIVES = {
    "": None,
    "swap": _swap,
    "policy": _policy,
    "neighbour": _provoked([("suspend", "big")], [("save", "big")], [("destroy", "big")]),
    "start": _provoked(STARTS + ENDS, STARTS + ENDS),
    "end": _provoked(STARTS, ENDS),
}


def declared(path):
    """The figures of what CMake declares with margay_bench_run()."""
    run = json.loads(path.read_text())
    modules = [_module(text) for text in run["modules"]]
    drive = DRIVES[run["drive"]]
    found, _ = boot(run["kernel"], modules, run["arguments"], run["memory"], run["timeout"], path.stem, drive, run["cores"],
                    run["extra"])
    return {run["prefix"] + key: figure for key, figure in found.items()}


def programs(path):
    """Names of the boot modules and the kernel that the build has to make for it."""
    run = json.loads(path.read_text())
    files = [pathlib.Path(what) for _, what in map(_module, run["modules"]) if isinstance(what, str)]
    return {file.name for file in [*files, pathlib.Path(run["kernel"])] if file.parent.name == "modules"}
