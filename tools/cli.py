#!/usr/bin/python3
"""The commands of ./margay; the packages they need are installed when this starts."""

import argparse
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import bochs
import build
import common
import console
import ctl
import devices
import exits
import fetch
import image
import machine
import needed
import node_image
import qemu
import transfer

KERNEL = node_image.KERNEL
MAX_MEMORY_MIB = 1 << 20


def _number(low, high, kind=int):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not within {low} to {high}")
        return value

    return parse


def _build(preset="release", targets=(), tests=True):
    if build.build(preset, targets, tests=tests) != 0:
        raise common.Failure("the build failed")


def setup(options):
    # The packages are there: ./margay has seen to that.
    fetch.everything()
    common.progress("everything is set up")
    return 0


def build_command(options):
    fetch.zydis()
    _build(options.preset)
    return 0


def _make_image(options, output, preset, exit_port=None):
    """Makes the boot image; a node_image.Plan."""
    # Bad input is found before the long part.
    node_image.check_options(options)
    if not options.no_build:
        fetch.zydis()
        _build(preset, node_image.targets(options), tests=False)
    plan = node_image.plan(options, preset, exit_port)
    image.make(output, build.directory(preset) / "modules" / KERNEL, plan.modules)
    return plan


def image_command(options):
    output = options.output or common.build_directory() / "margay.iso"
    if options.output:
        image.check_output(output)
    _make_image(options, output, options.preset)
    common.progress(f"made {output}, {output.stat().st_size >> 20} MiB")
    return 0


def check(options):
    file = common.readable_file(options.file, "check")
    fetch.zydis()
    _build(options.preset, (node_image.CHECKER,), tests=False)
    found = node_image.check_manifest(options.preset, file)
    for line in node_image.error_lines(file, found):
        print(line)
    if found["errors"]:
        return qemu.EXIT_FAILED
    vms = found["vms"]
    print(f"{file}: no errors; {len(vms)} VM{'' if len(vms) == 1 else 's'},"
        f" {sum(vm['memory_mib'] for vm in vms)} MiB of guest memory")
    return qemu.EXIT_OK


@contextlib.contextmanager
def _control_socket(options):
    """The listening socket of the node's control line; None if it would be the default one and is in use."""
    path = options.ctl or ctl.default_socket()
    if options.ctl is None:
        common.build_directory()
    listener = ctl.listen(path)
    if listener is None:
        if options.ctl is not None:
            raise common.Usage(f"--ctl {path}: another node uses it")
        common.progress(f"another node uses {path}: this one cannot be reached by ctl; see --ctl")
        yield None
        return
    try:
        yield listener
    finally:
        path.unlink(missing_ok=True)
        listener.close()


def _check_bochs(options):
    for name in ("uefi", "debug", "device", "iommu"):
        if getattr(options, name):
            raise common.Usage(f"--{name} is for --machine qemu")
    if (options.cores or 1) > bochs.MAX_CORES:
        raise common.Usage(f"--cores {options.cores}: Bochs' firmware starts up to {bochs.MAX_CORES}")


def _shows(end):
    """Whether the reason is what the user sees last already: the console's last line, in the same place."""
    try:
        out, errors = os.fstat(1), os.fstat(2)
    except OSError:
        return False
    if (out.st_dev, out.st_ino) != (errors.st_dev, errors.st_ino):
        return False
    said = [line for line in machine.console_lines(end.output) if line.strip()]
    return bool(said) and said[-1] == end.reason


def run(options):
    if options.machine == "bochs":
        _check_bochs(options)
    if options.log:
        try:
            open(options.log, "wb").close()
        except OSError as error:
            raise common.Usage(f"--log {options.log}: {error.strerror}") from None
    with (
        _control_socket(options) as listener,
        tempfile.TemporaryDirectory(prefix="margay-") as temporary,
    ):
        iso = pathlib.Path(temporary, "margay.iso")
        emulator = bochs if options.machine == "bochs" else qemu
        plan = _make_image(options, iso, options.preset, emulator.EXIT_PORT)
        cpu = options.cpu or emulator.DEFAULT_CPU
        if emulator is bochs:
            if plan.cores > bochs.MAX_CORES:
                raise common.Usage(f"{plan.cores} cores: Bochs' firmware starts up to {bochs.MAX_CORES}")
            line = bochs.command(iso, plan.memory_mib, plan.cores, cpu)
        else:
            line = qemu.command(iso, plan.memory_mib, plan.cores, options.uefi, debug=options.debug, cpu=cpu)
            line += devices.qemu_options(devices.parse(options.device), options.iommu)
        if options.debug:
            elf = build.directory(options.preset) / "elf" / f"{KERNEL}.elf"
            common.progress(f"waiting for: gdb {elf} -ex 'target remote :1234'")
        if not options.headless:
            common.progress("starting the node; Ctrl-A X leaves")
        end = emulator.run(line, options.log, options.timeout, options.headless, listener)
    status = end.status
    if status == qemu.EXIT_OK and options.exec is not None:
        # A command that turns the guest off itself has none.
        status = machine.command_status(end.output) or qemu.EXIT_OK
    if end.reason and not _shows(end):
        sys.stdout.flush()
        print(end.reason, file=sys.stderr)
    return status


def ctl_command(options):
    if not options.words:
        options.parser.print_help()
        return ctl.EXIT_OK
    carries = None
    if transfer.is_transfer(options.words):
        carries = transfer.command(options.words, options.replace, options.json)
    elif options.replace:
        raise common.Usage("--replace is for: ctl module put")
    if exits.is_exits(options.words):
        carries = exits.command(options.words, options.seconds, options.json)
    elif options.seconds is not None:
        raise common.Usage("--seconds is for: ctl exits top, plot and record")
    request = {"command": None} if carries else ctl.request(options.words)
    is_log, is_shutdown = request["command"] == "log", request["command"] == "shutdown"
    if options.follow and not is_log:
        raise common.Usage("--follow is for: ctl log")
    if options.now and (not is_shutdown or options.timeout is not None):
        raise common.Usage("--now is for: ctl shutdown, without --timeout")
    if is_shutdown and (options.now or options.timeout is not None):
        # How long the guests have: the answer comes at once.
        request["timeout"] = "0" if options.now else f"{options.timeout:.0f}"
        options.timeout = None
    try:
        with ctl.Client(options.socket or ctl.default_socket(), options.timeout or ctl.DEFAULT_TIMEOUT_SECONDS) as client:
            if carries:
                return carries(client)
            if is_log:
                return ctl.log_command(client, request.get("vm"), options.follow, options.json)
            if request["command"] in ("start", "reset") and request.get("vm"):
                progress = transfer.StartProgress(client, request["vm"], options.json)
                try:
                    return ctl.command(client, request, options.json, progress)
                finally:
                    progress.end()
            return ctl.command(client, request, options.json)
    except ctl.Unreachable as failure:
        if options.words[0] == "help":
            options.parser.print_help()
        if options.json:
            print(ctl.error_line(failure))
        raise


def console_command(options):
    with ctl.Client(options.socket or ctl.default_socket(), options.timeout or ctl.DEFAULT_TIMEOUT_SECONDS) as client:
        why = console.attach(client, options.vm)
    if why:
        raise common.Failure(why)
    return ctl.EXIT_OK


def _script(options, name, limit_seconds, *arguments, cores=1):
    """A script of tests/system, with arguments of the caller's."""
    tree = build.directory(options.preset)
    line = [sys.executable, "-B", str(common.ROOT / "tests" / "system" / "harness.py"), "--build", str(tree)]
    line += ["--kernel", str(tree / "modules" / KERNEL), "--timeout", str(limit_seconds), "--cores", str(cores)]
    line += ["--script", str(common.ROOT / "tests" / "system" / name), "--", *map(str, arguments)]
    sys.stdout.flush()
    return 1 if subprocess.run(line).returncode else 0


def _crash_sweep(options):
    """The whole of what the test system.vmm_crash does a part of."""
    # A boot has a hundred deaths and takes some five seconds, with several vCPUs ten.
    # On a busy machine it may be thirty times as long, and still is no failure.
    limit_seconds = 1800
    cpus = options.cpus or 1
    seconds = 5 if cpus == 1 else 10
    minutes = options.count * 2 // 100 * seconds // 60 + 1
    common.progress(f"killing VMMs, {options.count} times in each way: about {minutes} minutes")
    if cpus == 1:
        return _script(options, "crash.py", limit_seconds, options.count)
    for cores in (cpus, 1):
        common.progress(f"{cpus} vCPUs on {cores} core{'s'[:cores - 1]}")
        places = ",".join(str(cpu % cores) for cpu in range(cpus))
        if _script(options, "crash.py", limit_seconds, options.count, places, cores=cores):
            return 1
    return 0


def _node_fuzz(options):
    """The whole of what the tests system.node_fuzz… do a part of."""
    for cores in (1, 2):
        common.progress(f"{options.count} commands from seed {options.seed}, {cores} core{'s'[:cores - 1]}")
        # A command takes some ten milliseconds; on a busy machine ten times that.
        if _script(options, "node_fuzz.py", 300 + options.count, options.count, options.seed, cores=cores):
            return 1
    return 0


# One of these a pattern must have in it for tests that fetch large packages or take long: cmake/system_test.cmake, ON_REQUEST.
REQUESTS = ("smoke", "matrix", "passthrough")
SWEEPS = {"crash": _crash_sweep, "node-fuzz": _node_fuzz}


def test(options):
    if options.count is not None and options.pattern not in SWEEPS:
        raise common.Usage("--count is for: ./margay test crash --count N, ./margay test node-fuzz --count N")
    if options.cpus is not None and options.pattern != "crash":
        raise common.Usage("--cpus is for: ./margay test crash --cpus N")
    if options.seed is not None and options.pattern != "node-fuzz":
        raise common.Usage("--seed is for: ./margay test node-fuzz --count N --seed S")
    options.seed = options.seed or 1
    if options.pattern == "node-fuzz" and options.count is None:
        options.count = 300
    fetch.everything()
    # Its list of tests as well is made anew where that changed.
    if build.build(options.preset, ["build.ninja"], quiet=True) != 0:
        raise common.Failure("the build cannot be configured")
    tree = build.directory(options.preset)
    targets = ()
    # The names of tests have no hyphens.
    pattern = "node_fuzz" if options.pattern == "node-fuzz" else options.pattern
    if pattern:
        targets = sorted(needed.targets(tree, pattern))
        if not targets and not needed.are_there(tree, pattern):
            raise common.Failure(f"no test has a name that matches '{pattern}'")
    fuzz = [target for target in targets if target.startswith(needed.FUZZ)]
    if fuzz:
        _build("fuzz", fuzz)
    others = [target for target in targets if target not in fuzz]
    if others or not pattern:
        _build(options.preset, others)
    if options.count is not None:
        return SWEEPS[options.pattern](options)
    line = ["ctest", "--test-dir", str(tree), "--output-on-failure"]
    line += ["-j", str(options.jobs), "--no-tests=error", "--no-label-summary"]
    if options.pattern:
        line += ["-R", options.pattern]
    if not any(word in (options.pattern or "") for word in REQUESTS):
        line += ["-LE", "on_request"]
    sys.stdout.flush()
    return 1 if subprocess.run(line).returncode else 0


NATIVE_TARGETS = ["ukernel", "init", "pmem", "console", "pci", "vmm"]


def _bench_native(options):
    import json

    import native
    import native_2cpu

    figures, missed = {}, []
    if options.part != "2cpu":
        figures, missed = native.bench(options.preset)
    if options.part != "counted":
        figures |= native_2cpu.bench(options.preset, options.pairs or native_2cpu.PAIRS)
    if options.json:
        options.json.write_text(json.dumps({"figures": figures}, indent=4) + "\n")
    if missed:
        common.progress(f"missed or not measured: {' '.join(missed)}")
    return 1 if missed else 0


def bench(options):
    import bench as bench_tool

    if options.what != "native" and (options.part or options.pairs):
        raise common.Usage("--part and --pairs are for: ./margay bench native")
    if options.pairs and options.part == "counted":
        raise common.Usage("--pairs is for: ./margay bench native, without --part counted")
    if options.plot:
        import plot

        for file in plot.write(options.plot):
            common.progress(f"made {file}")
        return 0
    fetch.zydis()
    if options.what == "native":
        if options.only:
            raise common.Usage("--only is for ./margay bench alone; --part is for: ./margay bench native")
        _build(options.preset, NATIVE_TARGETS)
        return _bench_native(options)
    tree = build.directory(options.preset)
    if build.build(options.preset, ["build.ninja"], quiet=True) != 0:
        raise common.Failure("the build cannot be configured")
    names = bench_tool.chosen(tree, options.only)
    if wanted := sorted(bench_tool.targets(tree, names)):
        _build(options.preset, wanted)
    return bench_tool.bench(tree, names, options.json)


def format_command(options):
    import style

    return style.format_sources(options.check)


def lint(options):
    import style

    fetch.zydis()
    return style.lint(options.files)


def _add_guest_options(parser):
    parser.add_argument("--kernel", metavar="FILE", help="guest kernel (default: Debian's cloud kernel)")
    parser.add_argument("--initrd", metavar="FILE", help="its initial RAM disk (default: a small busybox)")
    parser.add_argument("--append", metavar="STRING", help="for its command line, after"
        f" {node_image.COMMAND_LINE} (of these what STRING does not name itself)")
    parser.add_argument("--memory", metavar="MIB", type=_number(16, MAX_MEMORY_MIB),
        help=f"guest memory (default: {node_image.DEFAULT_MEMORY_MIB})")
    parser.add_argument("--cores", metavar="N", type=_number(1, node_image.MAX_CORES),
        help="the node's cores (default: 1, or what the VMs want); with more than one, the guest begins at core 1")
    parser.add_argument("--cpus", metavar="N", type=_number(1, node_image.MAX_VCPUS),
        help="the guest's processors (default: 1), each on a core of its own as far as --cores allows; without --cores"
        " the node has enough")
    parser.add_argument("--exec", metavar="COMMAND",
        help="the default guest runs this in its shell, then powers off")
    parser.add_argument("--vmm", metavar="MODULE=FILE", help="the guest's VMM is this program, as boot module MODULE;"
        " the one that was built serves it when that one fails twice")
    parser.add_argument("--manifest", metavar="FILE", help="the node's manifest, in place of the default one")
    parser.add_argument("--module", metavar="NAME=FILE", action="append", default=[],
        help="one more boot module, or another file for one; may be repeated")
    parser.add_argument("--no-build", action="store_true", help="take what is built, whether it is up to date or not")
    _add_preset(parser)


def _add_preset(parser):
    parser.add_argument("--preset", choices=[p for p in build.PRESETS if p != "fuzz"], default="release",
        help="which build (default: release)")


def _parser():
    parser = argparse.ArgumentParser(prog="margay", description="Margay, a node OS: build it, run it, test it.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, function, text):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        if function not in (format_command,):
            command.add_argument("--build-dir", metavar="DIRECTORY",
                help="where builds are (default: $MARGAY_BUILD, or build/ in the tree)")
        return command

    add("setup", setup, "Install missing Debian packages and fetch guest kernels and sources.")

    command = add("build", build_command, "Build everything that changed.")
    command.add_argument("--preset", choices=build.PRESETS, default="release", help="default: release")

    command = add("run", run, "Build, make a boot image and start the node in an emulator. Exit status: 0 the"
        " guest powered itself off (with --exec: the command's), 1 guest, server or kernel failed, 2 bad usage, 3 the"
        " guest halted without powering off, 124 time limit.")
    _add_guest_options(command)
    command.add_argument("--machine", choices=("qemu", "bochs"), default="qemu",
        help="which emulator (default: qemu)")
    command.add_argument("--cpu", metavar="MODEL", help="its processor (default:"
        f" {qemu.DEFAULT_CPU} in QEMU, {bochs.DEFAULT_CPU} in Bochs)")
    command.add_argument("--device", metavar="KIND", action="append", default=[], help="one more PCI device of the"
        " machine, which the guest drives itself: nvme:FILE (a disk image), e1000e or virtio-net-pci; may be repeated")
    command.add_argument("--iommu", choices=devices.IOMMUS, help="what confines devices (with --device: amd-vi)")
    command.add_argument("--uefi", action="store_true", help="start by UEFI instead of BIOS")
    command.add_argument("--log", metavar="FILE", help="write the console's output there as well")
    command.add_argument("--timeout", metavar="SECONDS", type=_number(0.1, 1e6, float), help="then stop")
    command.add_argument("--headless", action="store_true", help="no terminal needed, no input")
    command.add_argument("--debug", action="store_true", help="wait for gdb on port 1234")
    command.add_argument("--ctl", metavar="SOCKET", type=pathlib.Path, help="where `margay ctl` reaches the"
        " node (default: node.ctl in the build directory)")

    def add_node(command):
        command.add_argument("--socket", metavar="SOCKET", type=pathlib.Path,
            help="of the node (default: node.ctl in the build directory)")
        command.add_argument("--timeout", metavar="SECONDS", type=_number(0.1, 1e6, float),
            help=f"for an answer (default: {ctl.DEFAULT_TIMEOUT_SECONDS}); with shutdown: for the guests (default: 30)")

    command = add("ctl", ctl_command, "Give a running node a command, as on the node console; `ctl help` lists"
        " them; `ctl log` shows what its servers said. Exit status: 0 done, 1 it failed, 2 bad usage, 3 no node,"
        " 4 no answer in time, 5 there is no such VM or module, 6 not in this state, 7 too little of something.")
    add_node(command)
    command.add_argument("--json", action="store_true", help="print the reply as it came")
    command.add_argument("--now", action="store_true", help="with shutdown: turn the node off at once; no guest is asked")
    command.add_argument("--follow", action="store_true", help="with log: go on until the node ends")
    command.add_argument("--seconds", metavar="N", type=_number(1, 86400, float),
        help="with exits top, plot or record: look for so long (default: top in a terminal until Ctrl-C, the others 10)")
    command.add_argument("--replace", action="store_true", help="with module put: in place of one of that name that"
        " nobody uses")
    command.add_argument("words", nargs="*", metavar="COMMAND [ARGUMENT …]", help="for the node")
    command.set_defaults(parser=command)

    command = add("console", console_command, "A terminal on a VM of a running node; Ctrl-] q leaves.")
    add_node(command)
    command.add_argument("vm", metavar="VM", help="its name")

    command = add("test", test, "Build what the tests need, and run them.")
    command.add_argument("pattern", nargs="?", metavar="PATTERN",
        help="only tests whose name matches this regular expression")
    command.add_argument("--jobs", metavar="N", type=_number(1, 256), default=2, help="default: 2")
    command.add_argument("--count", metavar="N", type=_number(10, 1000000),
        help="with the pattern crash: kill the VMM N times at exits and N times within their handlers; with the"
        " pattern node-fuzz: give a node N random commands while VMMs die")
    command.add_argument("--cpus", metavar="N", type=_number(1, 16),
        help="with the pattern crash: the guest has so many vCPUs, each on a core of its own and then all on one")
    command.add_argument("--seed", metavar="S", type=_number(0, 2**32 - 1), help="of node-fuzz (default: 1)")
    _add_preset(command)

    command = add("bench", bench, "Measure, in executed instructions of the emulated machine.")
    command.add_argument("what", nargs="?", choices=["native"],
        help="native: HPC kernels and system calls in a guest against the same on the machine itself")
    command.add_argument("--part", choices=["counted", "2cpu"],
        help="with native, only this: counted instructions with one processor, or wall-clock time with two")
    command.add_argument("--pairs", metavar="N", type=_number(3, 100),
        help="with native: how often each side runs with two processors (default: 5)")
    command.add_argument("--only", metavar="PART,…", help="only these parts: the declared runs of tests/bench, guest_boot, devices,"
        " sizes, setup, holds")
    command.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the figures there")
    command.add_argument("--plot", metavar="DIR", type=pathlib.Path,
        help="measure nothing: draw bar charts of the figures in tests/bench/history, costs.svg and native.svg, there")
    _add_preset(command)

    command = add("image", image_command, "Make a boot image: a hybrid ISO for BIOS and UEFI.")
    command.add_argument("output", nargs="?", metavar="OUTPUT", type=pathlib.Path,
        help="default: margay.iso in the build directory")
    _add_guest_options(command)

    command = add("check", check, "Report every error of a node manifest, with line and key. Exit status: 0 there"
        " is none, 1 there are some, 2 bad usage.")
    command.add_argument("file", metavar="FILE")
    _add_preset(command)

    command = add("format", format_command, "Lay out the C++ sources by .clang-format.")
    command.add_argument("--check", action="store_true", help="change nothing, fail on a difference")

    command = add("lint", lint, "Run clang-tidy on what changed since the last commit, or on key files.")
    command.add_argument("files", nargs="*", metavar="FILE", help="on these instead")
    return parser


ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def _end_by_signal(number, _):
    # What was made on the way is removed, as after Ctrl-C. Whoever ends a whole group sends it twice.
    for ending in ENDING_SIGNALS:
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    options = _parser().parse_args()
    if getattr(options, "build_dir", None):
        os.environ["MARGAY_BUILD"] = os.path.abspath(options.build_dir)
    for number in ENDING_SIGNALS:
        signal.signal(number, _end_by_signal)
    try:
        return options.function(options)
    except common.Usage as failure:
        print(f"margay: {failure}", file=sys.stderr)
        return getattr(failure, "status", qemu.EXIT_USAGE)
    except common.Failure as failure:
        print(f"margay: {failure}", file=sys.stderr)
        return getattr(failure, "status", qemu.EXIT_FAILED)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os._exit(qemu.EXIT_FAILED)
    except OSError as error:
        # A full disk, a directory that cannot be written: the name says which.
        name = f"{error.filename}: " if error.filename else ""
        print(f"margay: {name}{error.strerror or error}", file=sys.stderr)
        return qemu.EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
