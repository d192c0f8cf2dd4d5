#!/usr/bin/python3
"""Runs one system test: makes a boot image, boots it in QEMU or Bochs, judges console output and end.

Started by ctest with the options that margay_system_test() (cmake/system_test.cmake) writes. A test
that does more than wait has a script with a function test(node); it passes when that returns:

    def test(node):
        with node.boot(cores=2) as machine:          # a qemu.Captured or bochs.Captured
            machine.expect(r"Margay guest: ")        # waits for console output
            machine.send("poweroff -f\\n")           # types
            machine.human("info mem")                # asks QEMU's monitor
            machine.ctl(command="list")              # asks the node console, by JSON
            node.check_off(machine)                  # the end must be an orderly power-off
"""

import argparse
import importlib.util
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))

import bochs  # noqa: E402
import common  # noqa: E402
import image  # noqa: E402
import qemu  # noqa: E402

SHOWN_LINES = 80


class TestFailure(Exception):
    pass


class Node:
    """What a test boots: the defaults come from margay_system_test()'s options."""

    def __init__(self, options, directory):
        self.options = options
        self.arguments = options.script_arguments
        self.build = options.build
        self.directory = directory
        self.modules = [_module(text) for text in options.module]
        self.machine = None
        self.log = None  # the file that the last boot's log goes to
        self._images = 0

    def program(self, name):
        """The boot-module file of a program of this build."""
        return self.build / "modules" / name

    def boot(self, modules=None, arguments=None, cores=None, memory=None, uefi=None, timeout=None,
             control_line=True, log=None, extra=(), cpu=None):
        """Makes an image and starts it; what is not given is as the test was declared. extra: more for QEMU."""
        options = self.options
        self._images += 1
        self.log = log
        iso = self.directory / f"{self._images}.iso"
        if modules is None:
            modules = self.modules
        if options.machine == "bochs":
            modules = [(name, bochs.manifest(what) if name == "manifest" else what) for name, what in modules]
        image.make(
            iso,
            options.kernel,
            modules,
            options.arguments if arguments is None else arguments,
        )
        memory = memory or options.memory
        cores = cores or options.cores
        if options.machine == "bochs":
            line = bochs.command(iso, memory, cores, cpu or options.cpu or bochs.DEFAULT_CPU)
            emulator = bochs.Captured
        else:
            uefi = options.uefi if uefi is None else uefi
            cpu = cpu or options.cpu or qemu.DEFAULT_CPU
            line = qemu.command(iso, memory, cores, uefi, icount=options.icount, cpu=cpu, numa=options.numa) + list(extra)
            if options.measure:
                line += qemu.debug_port(options.measure / str(self._images))
            emulator = qemu.Captured
        self.machine = emulator(line, timeout or options.timeout, control_line=control_line, log=log)
        return self.machine

    def check_off(self, machine):
        """Waits for the node's end, which must be an orderly power-off."""
        self.check_status(machine, qemu.STATUS_OFF)

    def check_status(self, machine, wanted):
        status = machine.wait()
        if status != wanted:
            said = machine.errors().strip()
            raise TestFailure(f"the emulator ended with status {status}, not {wanted}" + (f"\n{said}" if said else ""))


def _module(text):
    name, _, what = text.partition("=")
    if what.startswith("text:"):
        return name, what.removeprefix("text:").encode()
    return name, pathlib.Path(what)


def check_lines(lines, expected, forbidden):
    """Each of `expected` must match a line, in this order; none of `forbidden` may match any."""
    rest = iter(lines)
    for pattern in expected:
        if not any(re.search(pattern, line) for line in rest):
            where = "" if pattern is expected[0] else " behind the lines expected before"
            raise TestFailure(f"no line matches {pattern!r}{where}")
    for pattern in forbidden:
        for line in lines:
            if re.search(pattern, line):
                raise TestFailure(f"forbidden by {pattern!r}: {line}")


def _plain_test(node):
    options = node.options
    with node.boot() as machine:
        node.check_status(machine, options.status)
        check_lines(machine.lines(), options.expect, options.forbid)


def _script(path):
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.test


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, metavar="DIRECTORY")
    parser.add_argument("--kernel", type=pathlib.Path, required=True, metavar="FILE")
    parser.add_argument("--module", action="append", default=[], metavar="NAME=FILE|NAME=text:CONTENT")
    parser.add_argument("--arguments", default="", help="the kernel's command line")
    parser.add_argument("--status", type=int, default=qemu.STATUS_OFF)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--memory", type=int, default=512, metavar="MIB")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--expect", action="append", default=[], metavar="REGEX")
    parser.add_argument("--forbid", action="append", default=[], metavar="REGEX")
    parser.add_argument("--machine", choices=("qemu", "bochs"), default="qemu")
    parser.add_argument("--cpu", help="the emulator's processor model")
    parser.add_argument("--numa", type=int, default=1, metavar="NODES")
    parser.add_argument("--uefi", action="store_true")
    parser.add_argument("--icount", action="store_true")
    parser.add_argument("--measure", type=pathlib.Path, metavar="DIRECTORY",
                        help="what each boot's kernel writes to the debug port goes there (./margay bench)")
    parser.add_argument("--script", type=pathlib.Path)
    parser.add_argument("script_arguments", nargs="*")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="margay-") as directory:
        node = Node(options, pathlib.Path(directory))
        try:
            (_script(options.script) if options.script else _plain_test)(node)
            return 0
        # The script's namespace has another TestFailure when it imports this file.
        except (common.Failure, TimeoutError, EOFError, AssertionError, RuntimeError) as failure:
            problem = failure
        except Exception as failure:
            if type(failure).__name__ != "TestFailure":
                raise
            problem = failure
        if node.machine:
            lines = node.machine.lines()
            print(f"--- console, last {min(SHOWN_LINES, len(lines))} of {len(lines)} lines")
            print("\n".join(lines[-SHOWN_LINES:]))
            print("---")
        if node.log and node.log.exists():
            lines = qemu.console_lines(node.log.read_bytes())
            print(f"--- log, last {min(SHOWN_LINES, len(lines))} of {len(lines)} lines")
            print("\n".join(lines[-SHOWN_LINES:]))
            print("---")
        print(f"FAILED: {problem}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
