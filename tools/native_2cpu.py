"""Two processors, in wall-clock time: an OpenMP kernel and an MPI ping-pong on the machine itself and in a guest.

Linux cannot start a second processor with counted instructions, so time is real here, and so is all that disturbs it.
Hence pairs, one after the other: the same kernel, initial RAM disk and programs on QEMU with two processors, then in a
guest with two vCPUs, each on a core of its own. The node has a third core, where init idles.

What is measured is tests/bench/native/stencil.cpp and pingpong.cpp. They count ticks of the time-stamp counter, which is
the host's on both sides. That it is, is checked: its pace is compared with the host's clock.
"""

import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import build
import common
import fetch
import image
import initramfs
import native
import qemu

CPUS = 2
MEMORY_MIB = 512
# Of one boot; on an idle host with two processors it takes half a minute.
TIMEOUT = 600
# With the line's end: output comes in parts.
END = r"native: end, ([0-9]+) processors, clock (\S+)\r*\n"
CLOCK = r"^clock ([0-9]+)\r*\n"
PAIRS = 5
# How much the pace of the counter may differ between two runs: what a busy host makes of the reading of lines.
MAX_PACE_ERROR = 0.05
LINES_SHOWN = 10
# One clock on both sides: a machine's own choice is the HPET, whose registers cost OpenMPI more than its messages do.
CLOCK_SOURCE = "tsc"
ARGUMENTS = f"{native.ARGUMENTS} tsc=reliable clocksource={CLOCK_SOURCE}"
# As for one process, but mpirun has to start two, and these talk to it by PMIx.
LEFT_OUT = re.compile(r"_(ofi|ucx|psm2?|openib|usnic|portals4|slurm|rsh|gridengine|tm|flux)\.so$")
# Our name: that in the programs' output.
FIGURES = {"native_openmp_2cpu_ratio": "openmp", "native_mpi_pingpong_2cpu_ratio": "pingpong"}

INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mkdir /dev/shm
/bin/busybox mount -t tmpfs tmpfs /dev/shm
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox --install -s /bin
hostname native
ip link set lo up
export PATH=/bin:/usr/bin HOME=/tmp
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_plm=isolated OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_oob_tcp_if_include=lo
export PMIX_MCA_pcompress_base_silence_warning=1
export OMP_NUM_THREADS=2 OMP_PROC_BIND=true LD_LIBRARY_PATH=/@BLAS@
cd /tmp
clock
stencil || echo "failed: stencil"
mpirun.openmpi -np 2 --oversubscribe pingpong < /dev/null || echo "failed: pingpong"
clock
echo "native: end, $(nproc) processors, clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
poweroff -f
"""


def ticks_of(line):
    """What a line says of rounds, as (name, their ticks); None if it says nothing of them."""
    words = line.split()
    if len(words) < 3 or words[0] != "rounds" or not all(word.isdigit() for word in words[2:]):
        return None
    return words[1], [int(word) for word in words[2:]]


def results(lines):
    """The ticks of the shortest round of each kernel. What else runs on the host makes rounds longer, never shorter."""
    found = dict(filter(None, map(ticks_of, lines)))
    failed = [line.strip() for line in lines if line.startswith("failed: ")]
    missing = [name for name in FIGURES.values() if not found.get(name)]
    if failed or missing:
        # With what was said before, as the loader's words for what is missing in the initial RAM disk.
        end = next((at for at, line in enumerate(lines) if line.startswith("failed: ")), len(lines))
        said = [line.strip()[:200] for line in lines[max(0, end - LINES_SHOWN):end] if line.strip()]
        raise common.Failure("\n".join([*said, "; ".join([*failed, *(f"no rounds of {name}" for name in missing)])]))
    return {name: min(found[name]) for name in FIGURES.values()}


def check_linux(cpus, clock):
    if cpus != CPUS:
        raise common.Failure(f"Linux has found {cpus} processors instead of {CPUS}")
    if clock != CLOCK_SOURCE:
        raise common.Failure(f"Linux keeps time by {clock} instead of {CLOCK_SOURCE}; is this host very busy?")


def pace(first, last):
    """Ticks of the counter for each second of the host; of (the host's seconds, the counter) at two moments."""
    seconds, ticks = last[0] - first[0], last[1] - first[1]
    if seconds <= 0 or ticks <= 0:
        raise common.Failure(f"the guest's time-stamp counter went on by {ticks} in {seconds:.3f} s")
    return ticks / seconds


def check_paces(paces):
    """Ratios of ticks are ratios of time only if the counter runs equally fast in all runs."""
    usual = statistics.median(paces)
    for one in paces:
        if abs(one / usual - 1) > MAX_PACE_ERROR:
            raise common.Failure(f"the time-stamp counters of the runs differ: {one / 1e6:.0f} and"
                f" {usual / 1e6:.0f} ticks a microsecond; is this host very busy?")


def figure(pairs):
    """The ratio of speeds of (ticks on the machine itself, ticks in the guest): its median and how far it goes."""
    ratios = [direct / guest for direct, guest in pairs]
    return {"value": round(statistics.median(ratios), 4), "unit": "ratio", "repeats": len(ratios),
        "min": round(min(ratios), 4), "max": round(max(ratios), 4), "privileged": {}}


def _initrd(directory):
    root, tests = fetch.hpcc(), common.ROOT / "tests" / "bench" / "native"
    compiler = ["g++", "-std=c++20", "-O2", "-s"]
    libraries = root / native.LIBRARIES
    for name, options in {
        "clock": ["-static"],
        "stencil": ["-static", "-fopenmp"],
        "pingpong": [f"-I{fetch.mpi_headers()}", libraries / "libmpi.so.40", "-Wl,--allow-shlib-undefined",
            "-static-libstdc++", "-static-libgcc"],
    }.items():
        done = subprocess.run([*compiler, "-o", directory / name, tests / f"{name}.cpp", *options],
            capture_output=True, text=True)
        if done.returncode != 0:
            raise common.Failure(f"{name}.cpp cannot be built:\n{done.stderr.strip()}")
    archive = initramfs.Archive()
    for name in ("dev", "proc", "sys", "tmp"):
        archive.add(name, initramfs.DIRECTORY)
    archive.add("dev/console", initramfs.CONSOLE, device=(5, 1))
    programs = native.mpi_programs(root, ["usr/bin/mpirun.openmpi"], LEFT_OUT)
    programs |= {f"bin/{name}": (directory / name).read_bytes() for name in ("clock", "stencil", "pingpong")}
    archive.add_files({**programs, "bin/busybox": fetch.busybox().read_bytes(),
        "init": INIT.replace("@BLAS@", str(native.BLAS)).encode()})
    initrd = directory / "initrd"
    initrd.write_bytes(archive.finish())
    return initrd


def _run(line):
    """The shortest rounds of a boot, and the counter's pace in it."""
    with qemu.Captured(line, TIMEOUT) as machine:
        try:
            clocks = []
            for _ in range(2):
                ticks = int(machine.expect(CLOCK)[1])
                clocks.append((time.monotonic(), ticks))
            end = machine.expect(END)
        except (TimeoutError, EOFError) as error:
            raise common.Failure("\n".join([*machine.lines()[-LINES_SHOWN:], str(error)])) from None
        check_linux(int(end[1]), end[2].decode())
        return results(machine.lines()), pace(*clocks)


def _direct(initrd):
    # Not microvm: its only reference for the counter's pace is the PIT, and Linux hangs when a busy host delays that.
    line = ["qemu-system-x86_64", "-nodefaults", "-M", "q35", "-cpu", native.CPU, "-m", str(MEMORY_MIB)]
    line += ["-display", "none", "-no-reboot", "-accel", "tcg,thread=multi", "-smp", str(CPUS)]
    return [*line, "-kernel", str(fetch.kernel()), "-initrd", str(initrd), "-append", ARGUMENTS]


def _guest(tree, initrd, directory):
    modules = [(name, tree / "modules" / name) for name in ("init", "pmem", "console", "vmm")]
    manifest = image.manifest(memory_mib=MEMORY_MIB, append=ARGUMENTS, core=1, cpus=CPUS)
    modules += [("manifest", manifest), ("kernel", fetch.kernel()), ("initrd", initrd)]
    iso = directory / "native.iso"
    image.make(iso, tree / "modules" / "ukernel", modules, "")
    memory = MEMORY_MIB + qemu.NODE_MEMORY_MIB + 2 * (initrd.stat().st_size >> 20) + 64
    return qemu.command(iso, memory, 1 + CPUS)


def bench(preset, pairs=PAIRS):
    """Takes the ratios and prints them; the figures."""
    tree = build.directory(preset)
    host_cpus = len(os.sched_getaffinity(0))
    found, paces = {name: [] for name in FIGURES.values()}, []
    with tempfile.TemporaryDirectory(prefix="margay-") as directory:
        directory = pathlib.Path(directory)
        initrd = _initrd(directory)
        lines = (_direct(initrd), _guest(tree, initrd, directory))
        for number in range(pairs):
            common.progress(f"measuring: two processors, pair {number + 1} of {pairs}")
            sides = []
            for line in lines:
                ticks, one_pace = _run(line)
                sides.append(ticks)
                paces.append(one_pace)
            for name, values in found.items():
                values.append((sides[0][name], sides[1][name]))
    check_paces(paces)
    figures = {key: figure(found[name]) for key, name in FIGURES.items()}
    per_us = statistics.median(paces) / 1e6
    print(f"{'two processors, wall clock':30} {'native us':>14} {'guest us':>14} {'ratio':>8} {'least':>8} {'most':>8}"
        f"  of {pairs} pairs")
    for key, name in FIGURES.items():
        shown = [statistics.median(side) / per_us for side in zip(*found[name])]
        one = figures[key]
        print(f"{name:30} {shown[0]:14.6g} {shown[1]:14.6g} {one['value']:8.4f} {one['min']:8.4f} {one['max']:8.4f}")
    if host_cpus <= CPUS:
        print(f"This host has {host_cpus} processors for the node's {1 + CPUS} cores: they suffice while core 0 is idle,"
            " but QEMU's own work has none of its own.")
    return figures
