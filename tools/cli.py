#!/usr/bin/python3
"""The commands of ./margay; the packages they need are installed when this starts."""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

import bochs
import build
import common
import ctl
import fetch
import image
import node_image
import qemu

KERNEL = node_image.KERNEL
MAX_MEMORY_MIB = 1 << 20
MAX_CORES = 128
DEFAULT_IMAGE = common.ROOT / "build" / "margay.iso"


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


def _build(preset="release", targets=()):
    # A line per step helps nobody who is not watching; ninja's one line on a terminal does.
    if not sys.stderr.isatty():
        common.progress("building")
    if build.build(preset, targets, quiet=not sys.stdout.isatty()) != 0:
        raise common.Failure("the build failed")


def setup(options):
    # The packages are there: ./margay has seen to that.
    for name in fetch.FETCHERS:
        fetch.FETCHERS[name]()
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
    fetch.zydis()
    _build(preset, node_image.targets(options))
    plan = node_image.plan(options, preset, exit_port)
    image.make(output, build.directory(preset) / "modules" / KERNEL, plan.modules)
    return plan


def image_command(options):
    _make_image(options, options.output, options.preset)
    common.progress(f"made {options.output}, {options.output.stat().st_size >> 20} MiB")
    return 0


def check(options):
    file = common.readable_file(options.file, "check")
    _build(options.preset, (node_image.CHECKER,))
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
    path = options.ctl or ctl.DEFAULT_SOCKET
    if options.ctl is None:
        path.parent.mkdir(exist_ok=True)
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
    for name in ("uefi", "debug"):
        if getattr(options, name):
            raise common.Usage(f"--{name} is for --machine qemu")
    if (options.cores or 1) > bochs.MAX_CORES:
        raise common.Usage(f"--cores {options.cores}: Bochs' firmware starts up to {bochs.MAX_CORES}")


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
        if options.debug:
            elf = build.directory(options.preset) / "elf" / f"{KERNEL}.elf"
            common.progress(f"waiting for: gdb {elf} -ex 'target remote :1234'")
        if not options.headless:
            common.progress("starting the node; Ctrl-A X leaves")
        end = emulator.run(line, options.log, options.timeout, options.headless, listener)
    if end.reason:
        sys.stdout.flush()
        print(end.reason, file=sys.stderr)
    return end.status


def ctl_command(options):
    if not options.words:
        options.parser.print_help()
        return ctl.EXIT_OK
    request = ctl.request(options.words)
    try:
        with ctl.Client(options.socket, options.timeout) as client:
            line, reply = client.ask(request)
    except ctl.Unreachable:
        if options.words[0] == "help":
            options.parser.print_help()
        raise
    if options.json:
        print(line)
    if reply.get("ok") is True:
        if not options.json:
            print(ctl.readable(reply["result"]))
        return ctl.EXIT_OK
    print(f"error: {reply.get('error')}", file=sys.stderr)
    return ctl.EXIT_REFUSED


def _crash_sweep(options):
    """The whole of what the test system.vmm_crash does a part of."""
    tree = build.directory(options.preset)
    
    line = [sys.executable, "-B", str(common.ROOT / "tests" / "system" / "harness.py"), "--build", str(tree)]
    line += ["--kernel", str(tree / "modules" / KERNEL), "--timeout", "120"]
    line += ["--script", str(common.ROOT / "tests" / "system" / "crash.py"), "--", str(options.count)]
    # A boot has a hundred deaths and takes some five seconds.
    minutes = options.count * 2 // 100 * 5 // 60 + 1
    common.progress(f"killing VMMs, {options.count} times in each way: about {minutes} minutes")
    sys.stdout.flush()
    return 1 if subprocess.run(line).returncode else 0


def test(options):
    if options.count is not None and options.pattern != "crash":
        raise common.Usage("--count is for: ./margay test crash --count N")
    for name in fetch.FETCHERS:
        fetch.FETCHERS[name]()
    _build(options.preset)
    if options.count is not None:
        return _crash_sweep(options)
    line = ["ctest", "--test-dir", str(build.directory(options.preset)), "--output-on-failure"]
    line += ["-j", str(options.jobs), "--no-tests=error", "--no-label-summary"]
    if options.pattern:
        line += ["-R", options.pattern]
    sys.stdout.flush()
    return 1 if subprocess.run(line).returncode else 0


def bench(options):
    import bench as bench_tool

    fetch.zydis()
    _build(options.preset)
    return bench_tool.bench(build.directory(options.preset), options.json)


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
    parser.add_argument("--cores", metavar="N", type=_number(1, MAX_CORES),
        help="the node's cores (default: 1, or what the manifest's VMs want); with more than one, the guest has core 1")
    parser.add_argument("--exec", metavar="COMMAND",
        help="the default guest runs this in its shell, then powers off")
    parser.add_argument("--vmm", metavar="MODULE=FILE", help="the guest's VMM is this program, as boot module MODULE;"
        " the one that was built serves it when that one fails twice")
    parser.add_argument("--manifest", metavar="FILE", help="the node's manifest, in place of the default one")
    parser.add_argument("--module", metavar="NAME=FILE", action="append", default=[],
        help="one more boot module, or another file for one; may be repeated")
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
        return command

    add("setup", setup, "Install missing Debian packages and fetch guest kernels and sources.")

    command = add("build", build_command, "Build everything that changed.")
    command.add_argument("--preset", choices=build.PRESETS, default="release", help="default: release")

    command = add("run", run, "Build, make a boot image and start the node in an emulator. Exit status: 0 the"
        " guest powered itself off, 1 guest, server or kernel failed, 2 bad usage, 124 time limit.")
    _add_guest_options(command)
    command.add_argument("--machine", choices=("qemu", "bochs"), default="qemu",
        help="which emulator (default: qemu)")
    command.add_argument("--cpu", metavar="MODEL", help="its processor (default:"
        f" {qemu.DEFAULT_CPU} in QEMU, {bochs.DEFAULT_CPU} in Bochs)")
    command.add_argument("--uefi", action="store_true", help="start by UEFI instead of BIOS")
    command.add_argument("--log", metavar="FILE", help="write the console's output there as well")
    command.add_argument("--timeout", metavar="SECONDS", type=_number(0.1, 1e6, float), help="then stop")
    command.add_argument("--headless", action="store_true", help="no terminal needed, no input")
    command.add_argument("--debug", action="store_true", help="wait for gdb on port 1234")
    command.add_argument("--ctl", metavar="SOCKET", type=pathlib.Path, help="where `margay ctl` reaches the"
        f" node (default: {ctl.DEFAULT_SOCKET.relative_to(common.ROOT)})")

    command = add("ctl", ctl_command, "Give a running node a command, as on the node console; `ctl help` lists"
        " them. Exit status: 0 done, 1 the node refused, 2 bad usage or no node.")
    command.add_argument("--socket", metavar="SOCKET", type=pathlib.Path, default=ctl.DEFAULT_SOCKET,
        help=f"of the node (default: {ctl.DEFAULT_SOCKET.relative_to(common.ROOT)})")
    command.add_argument("--json", action="store_true", help="print the reply as it came")
    command.add_argument("--timeout", metavar="SECONDS", type=_number(0.1, 1e6, float),
        default=ctl.DEFAULT_TIMEOUT_SECONDS, help=f"default: {ctl.DEFAULT_TIMEOUT_SECONDS}")
    command.add_argument("words", nargs="*", metavar="COMMAND [ARGUMENT …]", help="for the node")
    command.set_defaults(parser=command)

    command = add("test", test, "Build everything and run the tests.")
    command.add_argument("pattern", nargs="?", metavar="PATTERN",
        help="only tests whose name matches this regular expression")
    command.add_argument("--jobs", metavar="N", type=_number(1, 256), default=2, help="default: 2")
    command.add_argument("--count", metavar="N", type=_number(10, 1000000),
        help="with the pattern crash: kill the VMM N times at exits and N times within their handlers")
    _add_preset(command)

    command = add("bench", bench, "Measure, in executed instructions of the emulated machine.")
    command.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the figures there")
    _add_preset(command)

    command = add("image", image_command, "Make a boot image: a hybrid ISO for BIOS and UEFI.")
    command.add_argument("output", nargs="?", metavar="OUTPUT", type=pathlib.Path, default=DEFAULT_IMAGE,
        help=f"default: {DEFAULT_IMAGE.relative_to(common.ROOT)}")
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


def main():
    options = _parser().parse_args()
    try:
        return options.function(options)
    except common.Usage as failure:
        print(f"margay: {failure}", file=sys.stderr)
        return qemu.EXIT_USAGE
    except common.Failure as failure:
        print(f"margay: {failure}", file=sys.stderr)
        return qemu.EXIT_FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os._exit(qemu.EXIT_FAILED)


if __name__ == "__main__":
    sys.exit(main())
