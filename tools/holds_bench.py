"""The longest stretches with interrupts off and the longest holds of locks, over the system tests, by a kernel that measures them.

A tick is an instruction of the core that holds; waiting for other cores is not counted.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import tempfile

import bench_run
import build
import common

# Kinds of line that a measuring kernel writes (ukernel/core/measure.hpp).
HOLDS = {
    "I": "longest_interrupts_off",
    "E": "longest_lock_hold",
    "G": "longest_guard_hold",
}
# System tests in which the holds of locks are not measured, and why.
NOT_MEASURED = {
    "node_run_": "they drive ./margay, with the kernel that people run",
    "node_fuzz": "its operator types in the time of people, which stands for much of the emulated one",
    "bochs_": "the emulator has no debug port of the kernel's",
    "cores_80": "80 cores that take turns need minutes to start",
    "uefi": "the firmware alone takes minutes",
    "unnoticed": "the guest computes for 17 thousand million instructions",
}
# The races last ten seconds on the node's clock; here a part of one, in which all calls are made.
RACE_MS = 100
# The limits of the tests are for the machine's own speed.
HOLDS_TIMEOUT_FACTOR = 10


def _measured_test(command, directory):
    """Runs a system test (its command line) with the kernel that measures and counted instructions; the longest
    holds by their kind, and the test's last words if it failed."""
    line = list(command)
    at = {option: line.index(option) + 1 for option in ("--kernel", "--timeout", "--arguments") if option in line}
    line[at["--kernel"]] += "_measured"
    line[at["--timeout"]] = str(float(line[at["--timeout"]]) * HOLDS_TIMEOUT_FACTOR)
    if "--arguments" in at and line[at["--arguments"]].startswith("race="):
        line[at["--arguments"]] += f" race_ms={RACE_MS}"
    options = ["--measure", str(directory)] + ([] if "--icount" in line else ["--icount"])
    line[at["--kernel"] - 1 : at["--kernel"] - 1] = options
    ended = subprocess.run(line, capture_output=True, text=True)
    longest = dict.fromkeys(HOLDS, 0)
    for port in directory.iterdir():
        for text in port.read_text(errors="replace").splitlines():
            if text[:1] in HOLDS and text[1:].isdigit():
                longest[text[0]] = max(longest[text[0]], int(text[1:]))
    said = (ended.stdout + ended.stderr).strip().rpartition("\n")[2]
    return longest, "" if ended.returncode == 0 else said or "failed"


def measure(tree):
    """The figures."""
    common.progress("measuring: how long locks are held, in every system test")
    shown = subprocess.run(["ctest", "--show-only=json-v1", "-L", "^system$", "-LE", "^on_request$"], cwd=tree, capture_output=True, text=True)
    tests = {test["name"]: test["command"] for test in json.loads(shown.stdout)["tests"]
             if "--kernel" in test["command"] and not any(part in test["name"] for part in NOT_MEASURED)}
    if build.build(tree.name, ("ukernel_measured",), quiet=True) != 0:
        raise common.Failure("cannot build the kernel that measures")
    longest = {kind: (0, "") for kind in HOLDS}

    def one(test):
        with tempfile.TemporaryDirectory(prefix="margay-") as directory:
            return test[0], *_measured_test(test[1], pathlib.Path(directory))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, found, problem in pool.map(one, tests.items()):
            if problem:
                common.progress(f"{name} with counted instructions: {problem}")
            for kind, ticks in found.items():
                longest[kind] = max(longest[kind], (ticks, name))
    for kind, (ticks, name) in longest.items():
        common.progress(f"{HOLDS[kind]}: {ticks} in {name}")
    return {HOLDS[kind]: bench_run.figure(ticks, "instructions", len(tests)) for kind, (ticks, _) in longest.items() if ticks}
