"""What a device costs that a guest drives itself: the same kernel reads the same NVMe disk, and has its echo requests answered
through the same network adapter, under Margay and on the emulated machine without it.

Ticks are executed instructions, and jumps of the virtual clock while nobody works. The emulator completes a read, or answers a
request, in a thread of its own, so the host decides when that lands: of each kind several passes are made, the shortest
of all is the figure, and a pass is invalid whose median is more than 1.05 times its shortest. How many were is told. Exits
are those of the pass that had fewest. Neither device has a backend: what is counted is the path to it. There is no IOMMU on
the machine itself: the kernel that is used has no driver for one.
"""

import dataclasses
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
IOMMU = ["-device", "amd-iommu,intremap=on"]
APPEND = "console=ttyS0 quiet panic=-1"
PASSES = 5
LARGEST_SPREAD = 1.05
TIMEOUT = 600
LINE = re.compile(r"^io: (\w+) (\d+) (\d+) (\d+) (\d+)\s*$")


@dataclasses.dataclass
class Kind:
    """One figure: what the guest runs for a pass of so many."""

    figure: str
    command: str
    count: int


@dataclasses.dataclass
class Device:
    """One that is measured, in a boot of its own on each side."""

    what: str
    options: list  # for QEMU
    keys: dict  # of the VM that has it
    program: str  # a source in tests/bench
    modules: tuple  # of the guest's kernel
    ready: list  # what its shell does before
    kinds: dict


DISK = Device(
    "reads of a disk",
    ["-drive", "if=none,id=disk,driver=null-co,read-zeroes=on,size=1073741824", "-device", "nvme,drive=disk,serial=1,addr=8"],
    {"devices": [{"pci": "0000:00:08.0"}]}, "io_times", (),
    ["while [ ! -b /dev/nvme0n1 ]; do sleep 0.1; done"],
    {"random": Kind("nvme_rand_read", "io_times /dev/nvme0n1 random 4096 {} 1", 3000),
     "sequential": Kind("nvme_seq_read", "io_times /dev/nvme0n1 sequential 131072 {} 1", 300)})
# The emulator's own network answers.
NETWORK = Device(
    "echo requests",
    ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,disable-legacy=on,iommu_platform=on,addr=9"],
    {"devices": [{"pci": "0000:00:09.0"}], "allow_no_reset": True}, "echo_times", fetch.NETWORK_MODULES,
    ["ip addr add 10.0.2.15/24 dev eth0", "ip link set eth0 up"],
    {"echo": Kind("net_round_trip", "echo_times 10.0.2.2 {}", 1000)})
DEVICES = (DISK, NETWORK)


def _initrd(device, directory):
    program = directory / device.program
    source = common.ROOT / "tests" / "bench" / f"{device.program}.cpp"
    subprocess.run(["g++", "-std=c++20", "-O2", "-static", "-s", "-o", program, source], check=True)
    initrd = initramfs.with_files(initramfs.base(), {f"bin/{device.program}": program.read_bytes()})
    if device.modules:
        initrd = initramfs.with_modules(initrd, device.modules)
    return initramfs.with_command(initrd, _command(device))


def _command(device):
    """Passes one by one, between which the guest waits for a key so that exits can be counted: first one of nothing, which has
    all the exits that are not the device's."""
    lines = [*device.ready, "wait_for_key() { echo ready; read x </dev/ttyS0; }", "wait_for_key"]
    for kind in device.kinds.values():
        for count in [0] + [kind.count] * PASSES:
            lines += [kind.command.format(count), "wait_for_key"]
    return "\n".join(lines)


def _exits(machine):
    reply = machine.ctl(command="list")
    if not reply["ok"]:
        raise common.Failure(f"measuring a device: {reply['error']}")
    return reply["result"][0]["exits"]


def _passes(device, lines):
    found = {kind: [] for kind in device.kinds}
    for line in lines:
        if matched := LINE.match(line):
            found[matched[1]].append(tuple(map(int, matched.groups()[1:])))
    return found


def _run(device, line, where, look=lambda machine: 0):
    """The passes, and what `look` has seen each time when the guest waits for a key."""
    common.progress(f"measuring: {device.what}, {where}")
    with qemu.Captured(line, TIMEOUT) as machine:
        seen = []
        try:
            for _ in range(len(device.kinds) * (PASSES + 1) + 1):
                machine.expect(r"^ready\r?$")
                seen.append(look(machine))
                machine.send("\n")
            machine.end()
        except (TimeoutError, EOFError) as error:
            raise common.Failure("\n".join([*machine.lines()[-20:], f"measuring a device, {where}: {error}"])) from None
        return _passes(device, machine.lines()), seen


def _direct(device, initrd, directory):
    file = directory / "initrd"
    file.write_bytes(initrd)
    line = ["qemu-system-x86_64", "-nodefaults", "-M", "q35", "-cpu", qemu.DEFAULT_CPU, "-m", str(MEMORY_MIB)]
    line += ["-display", "none", "-no-reboot", "-accel", "tcg", "-icount", "shift=0,sleep=off"]
    line += ["-rtc", "base=2024-01-01,clock=vm", "-kernel", str(fetch.kernel()), "-initrd", str(file)]
    return line + ["-append", APPEND, *device.options]


def _under_margay(device, tree, initrd, directory):
    vm = {"name": "linux", "memory_mib": MEMORY_MIB, "kernel": "kernel", "initrd": "initrd", "append": APPEND,
          "console": "attached", **device.keys}
    modules = [(name, tree / "modules" / name) for name in ("init", "pmem", "console", "pci", "vmm")]
    modules.append(("manifest", json.dumps({"vms": [vm], "test_exit_port": qemu.EXIT_PORT}).encode()))
    modules += [("kernel", fetch.kernel()), ("initrd", initrd)]
    iso = directory / "bench.iso"
    image.make(iso, tree / "modules" / "ukernel", modules, "")
    return qemu.command(iso, MEMORY_MIB + qemu.NODE_MEMORY_MIB + 64, icount=True) + device.options + IOMMU


def _measure(device, tree):
    with tempfile.TemporaryDirectory(prefix="margay-") as directory:
        directory = pathlib.Path(directory)
        initrd = _initrd(device, directory)
        bare, _ = _run(device, _direct(device, initrd, directory), "on the machine itself")
        ours, exits = _run(device, _under_margay(device, tree, initrd, directory), "under Margay", _exits)
    figures = {}
    for number, (name, kind) in enumerate(device.kinds.items()):
        shortest = {}
        for key, passes in (("", ours[name]), ("_bare", bare[name])):
            shortest[key] = min(best for best, _, _, _ in passes)
            invalid = sum(median > LARGEST_SPREAD * best for best, median, _, _ in passes)
            medians = " ".join(str(median) for _, median, _, _ in passes)
            common.progress(f"{kind.figure}{key}: shortest {shortest[key]}, medians {medians}, {invalid} of {len(passes)} invalid")
            figures[f"{kind.figure}_ticks{key}"] = bench_run.figure(shortest[key], "instructions", len(passes))
        figures[f"{kind.figure}_ratio"] = bench_run.figure(round(shortest["_bare"] / shortest[""], 4), "ratio", len(ours[name]))
        at = exits[number * (PASSES + 1) :]
        spent = [after - before for before, after in zip(at, at[1:])][: PASSES + 1]
        of_all = min(spent[1:]) - spent[0]
        interrupts = ours[name][spent.index(min(spent[1:]), 1) - 1][3]
        common.progress(f"{kind.figure}: exits {' '.join(str(n - spent[0]) for n in spent[1:])}")
        if name == "random":
            figures["exits_per_1000_io"] = bench_run.figure(round(1000 * of_all / kind.count), "exits", PASSES)
            figures["exits_per_interrupt"] = bench_run.figure(round(of_all / max(interrupts, 1), 3), "exits", PASSES)
        if name == "echo":
            figures["exits_per_1000_echoes"] = bench_run.figure(round(1000 * of_all / kind.count), "exits", PASSES)
    return figures


def measure(tree):
    """The figures."""
    figures = {}
    for device in DEVICES:
        figures.update(_measure(device, tree))
    return figures
