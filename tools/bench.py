"""The figures of ./margay bench, their bounds, and the table.

Everything is counted in executed instructions. What CMake declares with margay_bench_run() is booted (bench_run.py); parts with a
way of their own stand in modules of their own; sizes are taken on this machine.
"""

import json
import pathlib
import struct

import bench_run
import boot_bench
import common
import device_bench
import holds_bench
import needed
import setup_time

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
    "exit_counters_cost": (8, 8, ""),
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
    "policy_answer_ratio": (1.20, None, ""),
    "policy_forward_cost": (200, 120, ""),
    "guest_boot_exits": (3000, 1500, "KVM 3355"),
    "busy_core_interrupts": (0, 0, ""),
    "nvme_rand_read_ratio": (0.90, 0.93, "KVM with vfio 0.77"),
    "nvme_seq_read_ratio": (0.90, 0.97, "KVM with vfio 0.82"),
    "net_round_trip_ratio": (0.75, 0.90, "KVM with vfio 0.59"),
    "exits_per_interrupt": (2, 1, ""),
    "exits_per_1000_io": (None, None, "KVM with vfio 1060 to 1410"),
    "exits_per_1000_echoes": (None, None, "KVM with vfio 3300 to 3700"),
    "claim_cost": (None, None, ""),
    "revoke_cost": (None, None, ""),
    "vtd_claim_cost": (None, None, ""),
    "vtd_revoke_cost": (None, None, ""),
    "longest_lock_hold": (None, None, ""),
    "longest_guard_hold": (None, None, ""),
    "longest_interrupts_off": (None, None, ""),
    "kernel_bytes": (262144, None, ""),
    "kernel_lines": (12000, None, "NOVA 14000"),
    "setup_cpu_seconds": (95.5, None, ""),
}
AT_LEAST = {"nvme_rand_read_ratio", "nvme_seq_read_ratio", "net_round_trip_ratio"}
CALIBRATION = "calibration"
# Keys of the run whose VMM has no journal (tests/bench/CMakeLists.txt).
UNJOURNALED = "unjournaled_"
# Keys of the run whose kernel does not count exits.
UNCOUNTED = "uncounted_"
# 1000 times nop between two readings of the counter, and the instructions of the reading.
CALIBRATION_RANGE = (1000, 1010)


def _declared(tree):
    """What CMake has declared, by name."""
    return {path.stem: path for path in sorted((tree / "bench").glob("*.json"))}


def _setup(_tree):
    common.progress("measuring: a first run, from its sources to the guest's end")
    return {"setup_cpu_seconds": bench_run.figure(setup_time.measure(), "s")}


# What is measured beside the declared runs, in this order. The last two build and test the most.
OTHERS = {
    "guest_boot": boot_bench.measure,
    "devices": device_bench.measure,
    "sizes": lambda tree: _sizes(tree),
    "setup": _setup,
    "holds": holds_bench.measure,
}
# Boot modules that the others need. Those of holds are the system tests'.
OTHERS_NEED = {
    "guest_boot": {"ukernel", "init", "pmem", "console", "vmm"},
    "devices": {"ukernel", "init", "pmem", "console", "pci", "vmm"},
    "sizes": {"ukernel"},
}


def parts(tree):
    """Names of the parts, in the order in which they are measured."""
    return [*_declared(tree), *OTHERS]


def chosen(tree, only):
    """The parts that `only` names, with commas; all if it is None. Raises Usage for one that is not there."""
    known = parts(tree)
    names = known if only is None else only.split(",")
    for name in names:
        if name not in known:
            raise common.Usage(f"--only '{name}': the parts are {' '.join(known)}")
    return [name for name in known if name in names]


def targets(tree, names):
    """What has to be built for these parts."""
    found = set()
    for name in names:
        if path := _declared(tree).get(name):
            found |= bench_run.programs(path)
        found |= OTHERS_NEED.get(name, set())
        if name == "holds":
            found |= {"ukernel_measured", *needed.targets(tree, r"^system\.")}
    return found


def _measure(tree, name):
    """The figures of a part; none if it failed, which is said."""
    try:
        if name in OTHERS:
            return OTHERS[name](tree)
        common.progress(f"measuring: {name}")
        return bench_run.declared(_declared(tree)[name])
    except common.Failure as failure:
        common.progress(f"{name} was not measured: {failure}")
        return {}


def bench(tree, names, json_file):
    """Takes the figures of the named parts; prints the table and writes the file. 1 when a must is missed or not measured."""
    figures = {}
    for name in names:
        figures.update(_measure(tree, name))
    calibration = figures.pop(CALIBRATION, None)
    if calibration and not CALIBRATION_RANGE[0] <= calibration["value"] <= CALIBRATION_RANGE[1]:
        raise common.Failure(
            f"1000 instructions took {calibration['value']} ticks: this emulator does not count them"
        )
    figures.update(_journal_costs(figures))
    figures.update(_policy_costs(figures))
    figures.update(_counters_cost(figures))
    wanted = TARGETS if set(names) == set(parts(tree)) else {key: TARGETS[key] for key in TARGETS if key in figures}
    _print(figures, wanted)
    if json_file:
        json_file.write_text(json.dumps({"figures": figures}, indent=4) + "\n")
    missed = [key for key, bounds in wanted.items() if not _reached(key, figures.get(key), bounds[0])]
    if missed:
        common.progress(f"missed or not measured: {' '.join(missed)}")
    return 0 if figures and not missed else 1


def _reached(key, figure, bound):
    if bound is None:
        return True
    if figure is None:
        return False
    return figure["value"] >= bound if key in AT_LEAST else figure["value"] <= bound


def _journal_costs(figures):
    """What an exit takes longer because it can be undone, in percent; takes the compared figures out."""
    costs = {}
    for key in [key for key in figures if key.startswith(UNJOURNALED)]:
        without, key = figures.pop(key), key.removeprefix(UNJOURNALED)
        if key not in figures:
            continue
        more = (figures[key]["value"] - without["value"]) / without["value"]
        costs[f"journal_cost_{key}"] = bench_run.figure(round(100 * more, 1), "%", without["repeats"])
    if costs:
        worst = max(costs.values(), key=lambda cost: cost["value"])
        costs["journal_cost_percent"] = bench_run.figure(worst["value"], "%", worst["repeats"])
    return costs


def _policy_costs(figures):
    """What a policy's answer takes beside the VMM's, and what it adds to an exit that it forwards."""
    if "policy_none_answer" not in figures:
        return {}
    answer, forward = (figures.pop(f"policy_none_{what}")["value"] for what in ("answer", "forward"))
    return {"policy_answer_ratio": bench_run.figure(round(figures["policy_answer"]["value"] / answer, 4), "ratio"),
            "policy_forward_cost": bench_run.figure(figures["policy_forward"]["value"] - forward, "instructions")}


def _counters_cost(figures):
    """By how many instructions an exit is longer because it is counted, at most; takes the compared figures out."""
    costs = []
    for key in [key for key in figures if key.startswith(UNCOUNTED)]:
        without, key = figures.pop(key), key.removeprefix(UNCOUNTED)
        if key in figures:
            costs.append((figures[key]["value"] - without["value"], without["repeats"]))
    if not costs:
        return {}
    most, repeats = max(costs)
    return {"exit_counters_cost": bench_run.figure(most, "instructions", repeats)}


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
        "kernel_bytes": bench_run.figure(loaded_bytes(tree / "modules" / "ukernel"), "bytes"),
        "kernel_lines": bench_run.figure(code_lines(common.ROOT / "ukernel"), "lines"),
    }


def _print(figures, wanted):
    rows = [("figure", "value", "unit", "repeats", "must", "strive", "", "others", "privileged")]
    for key in [*wanted, *sorted(set(figures) - set(wanted))]:
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
