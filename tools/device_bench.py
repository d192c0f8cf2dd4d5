"""What a device costs that a guest drives itself: the same kernel reads the same NVMe disk under Margay and on the
emulated machine without it.

Ticks are executed instructions, and jumps of the virtual clock while nobody works. The emulator completes a read in a
thread of its own, so the host decides when it lands: of each kind several passes are made, the shortest read of all is the
figure, and a pass is invalid whose median is more than 1.05 times its shortest read. How many were is told. Exits are those of
the pass that had fewest. The disk has no backend: what is counted is the path to it. There is no IOMMU on the machine itself: the
kernel that is used has no driver for one.
"""

import json
import pathlib
import re
import subprocess
import tempfile

import bench_run
import common
import fetch
import image
import initramfs
import qemu

MEMORY_MIB = 256
DISK = ["-drive", "if=none,id=disk,driver=null-co,read-zeroes=on,size=1073741824",
        "-device", "nvme,drive=disk,serial=1,addr=8"]
IOMMU = ["-device", "amd-iommu,intremap=on"]
APPEND = "console=ttyS0 quiet panic=-1"
# KIND: its figure, bytes of a read, reads in a pass.
KINDS = {"random": ("nvme_rand_read", 4096, 3000), "sequential": ("nvme_seq_read", 131072, 300)}
PASSES = 5
LARGEST_SPREAD = 1.05
TIMEOUT = 600
LINE = re.compile(r"^io: (\w+) (\d+) (\d+) (\d+) (\d+)\s*$")


def _initrd(directory, command):
    program = directory / "io_times"
    source = common.ROOT / "tests" / "bench" / "io_times.cpp"
    subprocess.run(["g++", "-std=c++20", "-O2", "-static", "-s", "-o", program, source], check=True)
    initrd = initramfs.with_files(initramfs.base(), {"bin/io_times": program.read_bytes()})
    return initramfs.with_command(initrd, command)


def _command():
    """Passes one by one, between which the guest waits for a key so that exits can be counted: first one of no reads, which has
    all the exits that are not the reads'."""
    lines = ["while [ ! -b /dev/nvme0n1 ]; do sleep 0.1; done", "wait_for_key() { echo ready; read x </dev/ttyS0; }", "wait_for_key"]
    for kind, (_, size, count) in KINDS.items():
        for reads in [0] + [count] * PASSES:
            lines += [f"io_times /dev/nvme0n1 {kind} {size} {reads} 1", "wait_for_key"]
    return "\n".join(lines)


def _exits(machine):
    reply = machine.ctl(command="list")
    if not reply["ok"]:
        raise common.Failure(f"measuring a device: {reply['error']}")
    return reply["result"][0]["exits"]


def _passes(lines):
    found = {kind: [] for kind in KINDS}
    for line in lines:
        if matched := LINE.match(line):
            found[matched[1]].append(tuple(map(int, matched.groups()[1:])))
    return found


def _run(line, what, look=lambda machine: 0):
    """The passes, and what `look` has seen each time when the guest waits for a key."""
    common.progress(f"measuring: reads of a disk, {what}")
    with qemu.Captured(line, TIMEOUT) as machine:
        seen = []
        try:
            for _ in range(len(KINDS) * (PASSES + 1) + 1):
                machine.expect(r"^ready\r?$")
                seen.append(look(machine))
                machine.send("\n")
            machine.end()
        except (TimeoutError, EOFError) as error:
            raise common.Failure("\n".join([*machine.lines()[-20:], f"measuring a device, {what}: {error}"])) from None
        return _passes(machine.lines()), seen


def _direct(initrd, directory):
    file = directory / "initrd"
    file.write_bytes(initrd)
    line = ["qemu-system-x86_64", "-nodefaults", "-M", "q35", "-cpu", qemu.DEFAULT_CPU, "-m", str(MEMORY_MIB)]
    line += ["-display", "none", "-no-reboot", "-accel", "tcg", "-icount", "shift=0,sleep=off"]
    line += ["-rtc", "base=2024-01-01,clock=vm", "-kernel", str(fetch.kernel()), "-initrd", str(file)]
    return line + ["-append", APPEND, *DISK]


def _under_margay(tree, initrd, directory):
    vm = {"name": "linux", "memory_mib": MEMORY_MIB, "kernel": "kernel", "initrd": "initrd", "append": APPEND,
          "console": "attached", "devices": [{"pci": "0000:00:08.0"}]}
    modules = [(name, tree / "modules" / name) for name in ("init", "pmem", "console", "pci", "vmm")]
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": qemu.EXIT_PORT}).encode()))
    modules += [("kernel", fetch.kernel()), ("initrd", initrd)]
    iso = directory / "bench.iso"
    image.make(iso, tree / "modules" / "ukernel", modules, "")
    return qemu.command(iso, MEMORY_MIB + qemu.NODE_MEMORY_MIB + 64, icount=True) + DISK + IOMMU


def measure(tree):
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="margay-") as directory:
        directory = pathlib.Path(directory)
        initrd = _initrd(directory, _command())
        bare, _ = _run(_direct(initrd, directory), "on the machine itself")
        ours, exits = _run(_under_margay(tree, initrd, directory), "under Margay", _exits)
    figures = {}
    for number, (kind, (name, _, count)) in enumerate(KINDS.items()):
        shortest = {}
        for key, passes in (("", ours[kind]), ("_bare", bare[kind])):
            shortest[key] = min(best for best, _, _, _ in passes)
            invalid = sum(median > LARGEST_SPREAD * best for best, median, _, _ in passes)
            medians = " ".join(str(median) for _, median, _, _ in passes)
            common.progress(f"{name}{key}: shortest {shortest[key]}, medians {medians}, {invalid} of {len(passes)} invalid")
            figures[f"{name}_ticks{key}"] = bench_run.figure(shortest[key], "instructions", len(passes))
        figures[f"{name}_ratio"] = bench_run.figure(round(shortest["_bare"] / shortest[""], 4), "ratio", len(ours[kind]))
        at = exits[number * (PASSES + 1) :]
        spent = [after - before for before, after in zip(at, at[1:])][: PASSES + 1]
        of_reads = min(spent[1:]) - spent[0]
        interrupts = ours[kind][spent.index(min(spent[1:]), 1) - 1][3]
        common.progress(f"{name}: exits {' '.join(str(n - spent[0]) for n in spent[1:])}")
        if kind == "random":
            figures["exits_per_1000_io"] = bench_run.figure(round(1000 * of_reads / count), "exits", PASSES)
            figures["exits_per_interrupt"] = bench_run.figure(round(of_reads / max(interrupts, 1), 3), "exits", PASSES)
    return figures
