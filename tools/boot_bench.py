"""Virtual time from a guest's first instruction to its init, against QEMU's microvm.

The guest's init is a program that prints its time-stamp counter and powers off. QEMU's counter
starts at 0 with the machine. Under Margay the guest's counter is expected to start at 0 with
the guest; where it does not, the node prints `bench: guest_start_tsc N ticks 1` with its value
at the first entry. init says how many exits there were when the guest powers off.
"""

import pathlib
import re
import statistics
import subprocess
import tempfile

import bench_run
import common
import fetch
import image
import initramfs
import qemu

GUEST_MEMORY_MIB = 256
GUEST_ARGUMENTS = "console=ttyS0 quiet"
BOOT_REPEATS = 3
BOOT_TIMEOUT = 300
MARKER = re.compile(r"guest-init-tsc ([0-9]+)")
EXITS = re.compile(r"^margay: guest \S+ powered off after ([0-9]+) exits")


def _marker(lines):
    for line in lines:
        matched = MARKER.search(line)
        if matched:
            return int(matched[1])
    raise common.Failure("\n".join([*lines[-20:], "the measured guest did not reach its init"]))


def measure(tree):
    """The figures."""
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
            figures, lines = bench_run.boot(
                tree / "modules" / "ukernel", modules, "", memory, BOOT_TIMEOUT, "guest boot"
            )
            start = figures.pop("guest_start_tsc", None)
            for matched in filter(None, map(EXITS.match, lines)):
                figures["guest_boot_exits"] = bench_run.figure(int(matched[1]), "exits", BOOT_REPEATS)
            ours.append(_marker(lines) - (start["value"] if start else 0))
    ratio = statistics.median(ours) / statistics.median(direct)
    figures["guest_boot_ratio"] = bench_run.figure(round(ratio, 4), "ratio", BOOT_REPEATS)
    figures["guest_boot_ticks"] = bench_run.figure(int(statistics.median(ours)), "instructions", BOOT_REPEATS)
    figures["guest_boot_ticks_microvm"] = bench_run.figure(int(statistics.median(direct)), "instructions", BOOT_REPEATS)
    return figures
