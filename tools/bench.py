"""The figures of ./margay bench.

Everything is counted in executed instructions: under QEMU's -icount shift=0 a tick of the
time-stamp counter is one instruction and one virtual nanosecond. What CMake declares with
margay_bench_run() is booted, and prints lines

    bench: KEY VALUE UNIT REPEATS {"cr3_writes": 2, …}

where the last part counts privileged operations on the measured path and may be missing. Sizes are
taken on this machine. The boot of a guest is measured here as well, see _guest_boot().
"""

import concurrent.futures
import json
import os
import pathlib
import re
import statistics
import struct
import subprocess
import tempfile
import time

import build
import common
import device_bench
import fetch
import image
import initramfs
import qemu
import setup_time

LINE = re.compile(r"^bench: (\S+) (-?[0-9.]+) (\S+) ([0-9]+)(?: (\{.*\}))?\s*$")
# KEY: (must reach, strive for, what others need), "at most" but for those in AT_LEAST. None: no such bound.
TARGETS = {
    "ipc_round_trip_0w": (282, 140, "NOVA 282, seL4 407"),
    "ipc_round_trip_4w": (312, 160, "NOVA 312, seL4 449, seL4 multi-core 618"),
    "ipc_round_trip_5w": (None, None, ""),
    "ipc_round_trip_32w": (None, None, "NOVA 592, seL4 1802"),
    "ipc_round_trip_64w": (912, 300, "NOVA 912, seL4 2122"),
    "exit_port_write": (700, 400, "KVM to a user-space VMM 3118"),
    "exit_port_read": (700, 400, "KVM to a user-space VMM 3150"),
    "exit_mmio_write": (2000, 1000, "KVM to a user-space VMM 5147"),
    "exit_lapic_read": (900, 500, "KVM, in the kernel, 3632"),
    "exit_hypercall": (600, 350, "KVM, in the kernel, 3011"),
    "exit_cpuid": (900, 500, "KVM, in the kernel, 2775"),
    "ipi_send": (None, None, ""),
    "ipi_receive": (None, None, ""),
    "journal_cost_percent": (15, 5, ""),
    "vmm_blackout_crash": (10_000_000, 1_000_000, ""),
    "vmm_blackout_swap": (2_000_000, 200_000, ""),
    "vmm_blackout_standby": (30_000, 10_000, ""),
    "vmm_interruption_swap": (100_000, 30_000, ""),
    "restart_delay_by_neighbour": (1_000_000, None, ""),
    "restart_delay_by_start": (1_000_000, None, ""),
    "restart_delay_by_end": (1_000_000, None, ""),
    "guest_boot_ratio": (1.20, 1.00, "KVM 0.95"),
    "guest_boot_exits": (3000, 1500, "KVM 3355"),
    "busy_core_interrupts": (0, 0, ""),
    "nvme_rand_read_ratio": (0.90, 0.93, "KVM with vfio 0.77"),
    "nvme_seq_read_ratio": (0.90, 0.97, "KVM with vfio 0.82"),
    "exits_per_interrupt": (2, 1, ""),
    "exits_per_1000_io": (None, None, "KVM with vfio 1060 to 1410"),
    "longest_lock_hold": (None, None, ""),
    "longest_guard_hold": (None, None, ""),
    "longest_interrupts_off": (None, None, ""),
    "kernel_bytes": (262144, None, ""),
    "kernel_lines": (12000, None, "NOVA 14000"),
    "setup_cpu_seconds": (95.5, None, ""),
}
AT_LEAST = {"nvme_rand_read_ratio", "nvme_seq_read_ratio"}
CALIBRATION = "calibration"
# Keys of the run whose VMM has no journal (tests/bench/CMakeLists.txt).
UNJOURNALED = "unjournaled_"
# 1000 times nop between two readings of the counter, and the instructions of the reading.
CALIBRATION_RANGE = (1000, 1010)
GUEST_MEMORY_MIB = 256
GUEST_ARGUMENTS = "console=ttyS0 quiet"
BOOT_REPEATS = 3
BOOT_TIMEOUT = 300
MARKER = re.compile(r"guest-init-tsc ([0-9]+)")
EXITS = re.compile(r"^margay: guest \S+ powered off after ([0-9]+) exits")


def bench(tree, json_file):
    """Takes all figures; prints the table and writes the file. 1 when a must is missed."""
    figures = {}
    runs = sorted((tree / "bench").glob("*.json"))
    for declared in runs:
        common.progress(f"measuring: {declared.stem}")
        run = json.loads(declared.read_text())
        modules = [_module(text) for text in run["modules"]]
        drive = DRIVES[run["drive"]]
        found, _ = _boot(
            run["kernel"], modules, run["arguments"], run["memory"], run["timeout"], declared.stem, drive, run["cores"]
        )
        figures.update({run["prefix"] + key: figure for key, figure in found.items()})
    calibration = figures.pop(CALIBRATION, None)
    if calibration and not CALIBRATION_RANGE[0] <= calibration["value"] <= CALIBRATION_RANGE[1]:
        raise common.Failure(
            f"1000 instructions took {calibration['value']} ticks: this emulator does not count them"
        )
    figures.update(_journal_costs(figures))
    figures.update(_guest_boot(tree))
    figures.update(device_bench.measure(tree, _figure))
    figures.update(_holds(tree))
    figures.update(_sizes(tree))
    common.progress("measuring: a first run, from its sources to the guest's end")
    figures["setup_cpu_seconds"] = _figure(setup_time.measure(), "s")
    _print(figures)
    if json_file:
        json_file.write_text(json.dumps({"figures": figures}, indent=4) + "\n")
    missed = [key for key, bounds in TARGETS.items() if not _reached(key, figures.get(key), bounds[0])]
    if missed:
        common.progress(f"missed or not measured: {' '.join(missed)}")
    return 1 if missed else 0


def _reached(key, figure, bound):
    if bound is None:
        return True
    if figure is None:
        return False
    return figure["value"] >= bound if key in AT_LEAST else figure["value"] <= bound


def _module(text):
    name, _, what = text.partition("=")
    return (name, what.removeprefix("text:").encode()) if what.startswith("text:") else (name, what)


def _figure(value, unit, repeats=1, privileged=None):
    return {"value": value, "unit": unit, "repeats": repeats, "privileged": privileged or {}}


def _number(text):
    return float(text) if "." in text else int(text)


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


# Two of 2 GiB, that had the memory before: not all that they get is clean.
STARTS = [("start", "a"), ("start", "b")]
ENDS = [("destroy", "a"), ("destroy", "b")]
# What happens to a run from outside (tests/bench/CMakeLists.txt).
DRIVES = {
    "": None,
    "swap": _swap,
    "neighbour": _provoked([("suspend", "big")], [("save", "big")], [("destroy", "big")]),
    "start": _provoked(STARTS + ENDS, STARTS + ENDS),
    "end": _provoked(STARTS, ENDS),
}


def _journal_costs(figures):
    """What an exit takes longer because it can be undone, in percent; takes the compared figures out."""
    costs = {}
    for key in [key for key in figures if key.startswith(UNJOURNALED)]:
        without, key = figures.pop(key), key.removeprefix(UNJOURNALED)
        more = (figures[key]["value"] - without["value"]) / without["value"]
        costs[f"journal_cost_{key}"] = _figure(round(100 * more, 1), "%", without["repeats"])
    if costs:
        worst = max(costs.values(), key=lambda cost: cost["value"])
        costs["journal_cost_percent"] = _figure(worst["value"], "%", worst["repeats"])
    return costs


def _boot(kernel, modules, arguments, memory, timeout, what, drive=None, cores=1, options=()):
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
            found[key] = _figure(_number(value), unit, int(repeats), json.loads(privileged or "{}"))
    return found, lines


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


def _holds(tree):
    """The longest stretches with interrupts off and holds of locks, over the system tests, by a kernel that
    measures them. A tick is an instruction of the core that holds; waiting for other cores is not counted."""
    common.progress("measuring: how long locks are held, in every system test")
    shown = subprocess.run(["ctest", "--show-only=json-v1", "-L", "^system$"], cwd=tree, capture_output=True, text=True)
    tests = {test["name"]: test["command"] for test in json.loads(shown.stdout)["tests"]
             if "--kernel" in test["command"] and not any(part in test["name"] for part in NOT_MEASURED)}
    if build.build(tree.name, ("ukernel_measured",), quiet=True) != 0:
        raise common.Failure("cannot build the kernel that measures")
    longest = {kind: (0, "") for kind in HOLDS}

    def measure(test):
        with tempfile.TemporaryDirectory(prefix="margay-") as directory:
            return test[0], *_measured_test(test[1], pathlib.Path(directory))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, found, problem in pool.map(measure, tests.items()):
            if problem:
                common.progress(f"{name} with counted instructions: {problem}")
            for kind, ticks in found.items():
                longest[kind] = max(longest[kind], (ticks, name))
    for kind, (ticks, name) in longest.items():
        common.progress(f"{HOLDS[kind]}: {ticks} in {name}")
    return {HOLDS[kind]: _figure(ticks, "instructions", len(tests)) for kind, (ticks, _) in longest.items() if ticks}


def _marker(lines):
    for line in lines:
        matched = MARKER.search(line)
        if matched:
            return int(matched[1])
    raise common.Failure("\n".join([*lines[-20:], "the measured guest did not reach its init"]))


def _guest_boot(tree):
    """Virtual time from a guest's first instruction to its init, against QEMU's microvm.

    The guest's init is a program that prints its time-stamp counter and powers off. QEMU's counter
    starts at 0 with the machine. Under Margay the guest's counter is expected to start at 0 with
    the guest; where it does not, the node prints `bench: guest_start_tsc N ticks 1` with its value
    at the first entry. init says how many exits there were when the guest powers off.
    """
    kernel = fetch.kernel()
    with tempfile.TemporaryDirectory(prefix="margay-") as directory:
        directory = pathlib.Path(directory)
        program = directory / "init"
        source = common.ROOT / "tests" / "bench" / "boot_marker.S"
        subprocess.run(
            ["gcc", "-nostdlib", "-static", "-no-pie", "-s", "-o", program, source], check=True
        )
        initrd = directory / "initrd"
        initrd.write_bytes(initramfs.minimal(program.read_bytes()))

        common.progress("measuring: guest boot without Margay")
        line = ["qemu-system-x86_64", "-nodefaults", "-M", "microvm", "-cpu", "EPYC,+svm"]
        line += ["-m", str(GUEST_MEMORY_MIB), "-display", "none", "-no-reboot", "-accel", "tcg"]
        line += ["-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01,clock=vm"]
        line += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", GUEST_ARGUMENTS]
        direct = []
        for _ in range(BOOT_REPEATS):
            with qemu.Captured(line, BOOT_TIMEOUT) as machine:
                machine.expect(MARKER.pattern + r"\r?\n")
                direct.append(_marker(machine.lines()))

        common.progress("measuring: guest boot under Margay")
        modules = [(name, tree / "modules" / name) for name in ("init", "pmem", "console", "vmm")]
        manifest = image.manifest(memory_mib=GUEST_MEMORY_MIB, append=GUEST_ARGUMENTS)
        modules += [("manifest", manifest), ("kernel", kernel), ("initrd", initrd)]
        ours, figures = [], {}
        for _ in range(BOOT_REPEATS):
            memory = GUEST_MEMORY_MIB + qemu.NODE_MEMORY_MIB + 64
            figures, lines = _boot(
                tree / "modules" / "ukernel", modules, "", memory, BOOT_TIMEOUT, "guest boot"
            )
            start = figures.pop("guest_start_tsc", None)
            for matched in filter(None, map(EXITS.match, lines)):
                figures["guest_boot_exits"] = _figure(int(matched[1]), "exits", BOOT_REPEATS)
            ours.append(_marker(lines) - (start["value"] if start else 0))
    ratio = statistics.median(ours) / statistics.median(direct)
    figures["guest_boot_ratio"] = _figure(round(ratio, 4), "ratio", BOOT_REPEATS)
    figures["guest_boot_ticks"] = _figure(int(statistics.median(ours)), "instructions", BOOT_REPEATS)
    figures["guest_boot_ticks_microvm"] = _figure(int(statistics.median(direct)), "instructions", BOOT_REPEATS)
    return figures


def loaded_bytes(elf):
    """Bytes of an ELF64 image's loaded segments in the file: text and data, without BSS."""
    data = pathlib.Path(elf).read_bytes()
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    total = 0
    for index in range(count):
        kind, = struct.unpack_from("<I", data, offset + index * size)
        file_bytes, = struct.unpack_from("<Q", data, offset + index * size + 32)
        total += file_bytes if kind == 1 else 0
    return total


def code_lines(directory):
    """Lines that are neither empty nor only comment."""
    total = 0
    for path in sorted(pathlib.Path(directory).rglob("*")):
        if path.suffix not in (".cpp", ".hpp", ".S", ".h"):
            continue
        in_comment = False
        for line in path.read_text().splitlines():
            line = line.strip()
            if in_comment:
                in_comment = "*/" not in line
            elif line.startswith("/*"):
                in_comment = "*/" not in line
            elif line and not line.startswith("//"):
                total += 1
    return total


def _sizes(tree):
    return {
        "kernel_bytes": _figure(loaded_bytes(tree / "modules" / "ukernel"), "bytes"),
        "kernel_lines": _figure(code_lines(common.ROOT / "ukernel"), "lines"),
    }


def _print(figures):
    rows = [("figure", "value", "unit", "repeats", "must", "strive", "", "others", "privileged")]
    for key in [*TARGETS, *sorted(set(figures) - set(TARGETS))]:
        must, strive, others = TARGETS.get(key, (None, None, ""))
        figure = figures.get(key)
        if figure is None:
            rows.append((key, "-", "", "", _text(must), _text(strive), "not measured", others, ""))
            continue
        verdict = ""
        if must is not None:
            verdict = "reached" if _reached(key, figure, must) else "MISSED"
            if strive is not None and _reached(key, figure, strive):
                verdict = "strive met"
        privileged = " ".join(f"{name}={count}" for name, count in figure["privileged"].items())
        rows.append((key, _text(figure["value"]), figure["unit"], str(figure["repeats"]), _text(must),
                     _text(strive), verdict, others, privileged))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column in (1, 3, 4, 5) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        print("  ".join(cells).rstrip())


def _text(value):
    return "" if value is None else str(value)
