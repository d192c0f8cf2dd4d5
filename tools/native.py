"""The same kernel, initial RAM disk and programs on the machine itself and in a guest: how much slower is the guest?

Both run with counted instructions, so that a nanosecond is an instruction, and see the same processor. The
programs are Debian's hpcc (HPL, DGEMM, FFT, PTRANS, RandomAccess, STREAM; with OpenBLAS) and tests/bench/native.
"""

import pathlib
import re
import subprocess
import tempfile

import build
import common
import fetch
import image
import initramfs
import libraries
import qemu

MEMORY_MIB = 768
TIMEOUT = 1800
CPU = "EPYC,+svm"
ARGUMENTS = "console=ttyS0 quiet"
LIBRARIES = pathlib.PurePosixPath("usr/lib/x86_64-linux-gnu")
COMPONENTS = LIBRARIES / "openmpi/lib/openmpi3"
BLAS = LIBRARIES / "openblas-serial"
# Transports and launchers that one process needs none of; they drag in half a distribution.
LEFT_OUT = re.compile(r"_(ofi|ucx|psm2?|openib|usnic|portals4|slurm|rsh|gridengine|tm|ext3x|flux)\.so$")

INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t tmpfs tmpfs /tmp
/bin/busybox --install -s
export PATH=/bin:/usr/bin HOME=/tmp
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_ess_singleton_isolated=1 OMPI_MCA_pml=ob1 OMPI_MCA_btl=self OMPI_MCA_hwloc_base_binding_policy=none
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 LD_LIBRARY_PATH=/@BLAS@
cd /tmp
cp /etc/hpccinf.txt .
marks > marks.out 2>&1
hpcc > hpcc.out 2>&1
echo
grep -m1 -o ' avx[^ ]*' /proc/cpuinfo | head -1
cat marks.out
grep -E '^[A-Za-z_]+=[0-9.e+-]+$' hpccoutf.txt | sed 's/^/hpcc /'
echo 'native: end'
poweroff -f
"""
# hpcc's configuration: one process, a matrix of that order.
ORDER, BLOCK = 500, 80

# Our name: (name in the programs' output, must reach, strive for). Those of hpcc are rates, the marks are times.
FIGURES = {
    "native_hpl_ratio": ("HPL_Tflops", 0.98, 0.995),
    "native_dgemm_ratio": ("SingleDGEMM_Gflops", 0.98, 0.995),
    "native_fft_ratio": ("SingleFFT_Gflops", 0.98, 0.995),
    "native_ptrans_ratio": ("PTRANS_GBs", None, None),
    "native_stream_copy_ratio": ("SingleSTREAM_Copy", 0.98, 0.995),
    "native_stream_triad_ratio": ("SingleSTREAM_Triad", 0.98, 0.995),
    "native_random_access_ratio": ("SingleRandomAccess_GUPs", 0.98, 0.995),
    "native_memcpy_ratio": ("memcpy_1m", None, None),
    "native_getppid_ratio": ("getppid", None, None),
    "native_clock_ratio": ("clock_gettime", None, None),
    "native_page_fault_ratio": ("page_fault", None, None),
    "native_fork_ratio": ("fork", None, None),
    "native_exec_ratio": ("exec", 0.97, 0.99),
    "native_pipe_ratio": ("pipe", 0.97, 0.99),
    "native_context_switch_ratio": ("context_switch", None, None),
    "native_yield_ratio": ("sched_yield", None, None),
    "native_tmpfs_ratio": ("tmpfs_write_4k", None, None),
    "native_openmp_ratio": ("openmp_region", None, None),
}
# The same of timers, where less is better: the guest's by the machine's.
LATENESS = {
    "timer_lateness_ratio": ("sleep_lateness", 1.5, 1.1),
    "timer_10khz_ratio": ("timer_expirations", None, None),
}
RESULT = re.compile(r"^(?:mark (\w+) ([0-9.]+)|hpcc (\w+)=([0-9.e+-]+))\s*$")


def mpi_programs(root, programs, left_out):
    """Programs that use OpenMPI and what they load: {path in the guest: content}. left_out: matches the names of
    OpenMPI's components that are not to be there."""
    components = [file.relative_to(root) for file in sorted((root / COMPONENTS).glob("mca_*.so"))
                  if not left_out.search(file.name)]
    found = libraries.closure(root, [*programs, *components], first=(BLAS, COMPONENTS.parent))
    for text in sorted((root / "usr/share/openmpi").glob("*.txt")) + sorted((root / "etc/openmpi").glob("*")):
        found[str(text.relative_to(root))] = text.read_bytes()
    return found


def _configuration(root):
    """hpcc's example, for one process."""
    text = (root / "usr/share/doc/hpcc/examples/_hpccinf.txt").read_text()
    for what, value in (("Ns", ORDER), ("NBs", BLOCK), ("Ps", 1), ("Qs", 1)):
        text, count = re.subn(rf"(?m)^\d+(\s+{what})$", rf"{value}\1", text)
        if count != 1:
            raise common.Failure(f"hpcc's example of its configuration has no line for {what}")
    return text.encode()


def _initrd(directory):
    root = fetch.hpcc()
    marks = directory / "marks"
    source = common.ROOT / "tests" / "bench" / "native" / "marks.cpp"
    subprocess.run(["g++", "-std=c++20", "-O2", "-static", "-fopenmp", "-s", "-o", marks, source], check=True)
    archive = initramfs.Archive()
    for name in ("dev", "proc", "sys", "tmp"):
        archive.add(name, initramfs.DIRECTORY)
    archive.add("dev/console", initramfs.CONSOLE, device=(5, 1))
    archive.add_files({**mpi_programs(root, ["usr/bin/hpcc"], LEFT_OUT), "bin/marks": marks.read_bytes(), "bin/busybox": fetch.busybox().read_bytes(),
                       "init": INIT.replace("@BLAS@", str(BLAS)).encode(), "etc/hpccinf.txt": _configuration(root)})
    initrd = directory / "initrd"
    initrd.write_bytes(archive.finish())
    return initrd


def _results(machine):
    machine.expect(r"native: end")
    found = {}
    for line in machine.lines():
        matched = RESULT.match(line)
        if matched:
            mark, time, rate_name, rate = matched.groups()
            # As rates, all of them.
            found[mark or rate_name] = 1e9 / float(time) if mark else float(rate)
    return found


def _direct(initrd):
    line = ["qemu-system-x86_64", "-nodefaults", "-M", "microvm", "-cpu", CPU, "-m", str(MEMORY_MIB)]
    line += ["-display", "none", "-no-reboot", "-accel", "tcg", "-icount", "shift=0,sleep=off"]
    line += ["-rtc", "base=2024-01-01,clock=vm", "-kernel", str(fetch.kernel()), "-initrd", str(initrd)]
    with qemu.Captured([*line, "-append", ARGUMENTS], TIMEOUT) as machine:
        return _results(machine)


def _guest(tree, initrd, directory):
    modules = [(name, tree / "modules" / name) for name in ("init", "pmem", "console", "vmm")]
    manifest = image.manifest(memory_mib=MEMORY_MIB, append=ARGUMENTS)
    modules += [("manifest", manifest), ("kernel", fetch.kernel()), ("initrd", initrd)]
    iso = directory / "native.iso"
    image.make(iso, tree / "modules" / "ukernel", modules, "")
    memory = MEMORY_MIB + qemu.NODE_MEMORY_MIB + 2 * (initrd.stat().st_size >> 20) + 64
    with qemu.Captured(qemu.command(iso, memory, 1, icount=True), TIMEOUT) as machine:
        return _results(machine)


def bench(preset):
    """Takes the ratios and prints them; the figures, and the names of those that miss their must or were not measured."""
    tree = build.directory(preset)
    with tempfile.TemporaryDirectory(prefix="margay-") as directory:
        directory = pathlib.Path(directory)
        initrd = _initrd(directory)
        common.progress("measuring: the programs on the machine itself")
        direct = _direct(initrd)
        common.progress("measuring: the programs in a guest")
        guest = _guest(tree, initrd, directory)
    figures, missed = {}, []
    print(f"{'':30} {'native':>14} {'guest':>14} {'ratio':>8} {'must':>6} {'strive':>7}")
    for key, (name, must, strive) in (FIGURES | LATENESS).items():
        if not direct.get(name) or not guest.get(name):
            missed.append(key)
            continue
        ratio, shown = guest[name] / direct[name], [direct[name], guest[name]]
        is_late = key in LATENESS
        if is_late:
            ratio, shown = 1 / ratio, [1e9 / rate for rate in shown]
        figures[key] = {"value": round(ratio, 4), "unit": "ratio", "repeats": 1, "privileged": {}}
        bounds = "".join(f" {bound or '':>6}" for bound in (must, strive)) + ("  at most" if is_late else "")
        print(f"{name:30} {shown[0]:14.6g} {shown[1]:14.6g} {ratio:8.4f}{bounds}")
        if must and (ratio > must if is_late else ratio < must):
            missed.append(key)
    return figures, missed
