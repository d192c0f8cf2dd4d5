#!/usr/bin/python3
"""What a user of ./margay meets when something is not as it should be: test_usage.py BUILD."""

import contextlib
import fcntl
import io
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import build  # noqa: E402
import common  # noqa: E402
import fetch  # noqa: E402
import machine  # noqa: E402
import needed  # noqa: E402
import qemu  # noqa: E402

BUILD = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 else ROOT / "build" / "release"


def margay(*arguments, root=ROOT, **environment):
    line = [sys.executable, "-B", str(root / "tools" / "cli.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
        env=dict(os.environ, **environment))


class Temporary(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def one_line(self, done, *parts, status=1):
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)

    def program(self, name, text):
        """A program in place of one of the machine's."""
        file = self.directory / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("#!/bin/bash\n" + text)
        file.chmod(0o755)
        return f"{file.parent}:{os.environ['PATH']}"


class Refused(Temporary):
    """Bad options of `run`, before anything is built or booted: one line, with the option's name."""

    def refused(self, *arguments):
        ctl = str(self.directory / "ctl")
        self.one_line(margay("run", "--headless", "--ctl", ctl, *arguments), *arguments[:1], status=2)
        self.assertFalse(pathlib.Path(ctl).exists())

    def test_empty_names_of_files(self):
        for option in ("--kernel", "--initrd", "--manifest"):
            self.refused(option, "")
        for option in ("--module", "--vmm"):
            self.refused(option, "")
            self.refused(option, "name=")

    def test_files_that_are_none(self):
        for option in ("--kernel", "--initrd", "--manifest"):
            self.refused(option, str(self.directory))
            self.refused(option, str(self.directory / "none"))

    def test_devices(self):
        disk = self.directory / "disk"
        disk.write_bytes(bytes(4096))
        for wrong in ("", "nvme", "nvme:", f"nvme:{self.directory}/none", "floppy", "e1000e:x", f"nvme:{disk},x"):
            self.refused("--device", wrong)
        self.refused("--device", f"nvme:{disk}", "--manifest", str(ROOT / "boot" / "manifest.json"))
        self.refused("--device", f"nvme:{disk}", "--machine", "bochs")
        self.refused(*["--device", f"nvme:{disk}"] * 5)
        self.refused("--iommu", "vtd", "--machine", "bochs")

    def test_command_lines(self):
        self.refused("--append", "two\nlines")
        self.refused("--append", "x" * 2048)


class Unusable(Temporary):
    """One line each, with what to do."""

    def test_home(self):
        environment = {"HOME": "/proc/none", "XDG_CACHE_HOME": "", "MARGAY_CACHE": ""}
        self.one_line(margay("build", **environment), "/proc/none/.cache/margay", "MARGAY_CACHE")

    def test_build_directory(self):
        done = margay("run", "--headless", "--build-dir", "/proc/none", MARGAY_CACHE=str(common.cache()))
        self.one_line(done, "/proc/none", "--build-dir", "MARGAY_BUILD")

    def test_the_place_of_an_image(self):
        for place, reason in ((self.directory, "a directory"), ("/proc/none.iso", "No such file"), ("/dev/null/x", "Not a directory")):
            self.one_line(margay("image", str(place)), f"image {place}: {reason}", status=2)
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_the_place_of_a_control_line(self):
        done = margay("run", "--headless", "--no-build", "--ctl", "/proc/none", MARGAY_CACHE=str(common.cache()))
        self.one_line(done, "--ctl /proc/none: No such file", status=2)

    def test_a_build_of_another_project(self):
        tree = self.directory / "release"
        tree.mkdir()
        (tree / "CMakeCache.txt").write_text("CMAKE_PROJECT_NAME:STATIC=precious\nCMAKE_HOME_DIRECTORY:INTERNAL=/x\n")
        (tree / "build.ninja").write_text("")
        self.one_line(margay("check", str(ROOT / "boot" / "manifest.json"), "--build-dir", str(self.directory)),
            "precious", "--build-dir")
        self.assertTrue((tree / "build.ninja").exists())

    def test_an_empty_cache_without_network(self):
        path = self.program("apt-get", "echo 'W: a warning' >&2; echo 'E: Could not resolve deb.debian.org' >&2; exit 100\n")
        cache = self.directory / "cache"
        self.one_line(margay("build", PATH=path, MARGAY_CACHE=str(cache)), "Zydis", str(cache), "network")
        self.assertEqual([p.name for p in cache.iterdir()], ["lock"])


class NoHome(Temporary):
    def test_without_home_the_user_database_has_it(self):
        """CMake and the tools look for what was fetched in the same place."""
        environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "MARGAY_CACHE", "XDG_CACHE_HOME")}
        line = [sys.executable, "-B", "-c", "import sys; sys.path.insert(0, sys.argv[1]); import build\n"
            "print(build._environment()['MARGAY_CACHE'])", str(ROOT / "tools")]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, check=True)
        self.assertEqual(done.stdout.strip(), os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".cache", "margay"))


class LeftOvers(Temporary):
    def test_a_killed_fetch_leaves_nothing(self):
        cache = self.directory / "cache"
        path = self.program("apt-get", 'case "$*" in *update*) ;; *) exit 0 ;; esac\n'
            f"head --bytes=9999 /dev/zero >lists/big; touch {self.directory}/started; exec sleep 60\n")
        for number in (signal.SIGTERM, signal.SIGKILL):
            started = self.directory / "started"
            started.unlink(missing_ok=True)
            line = [sys.executable, "-B", str(ROOT / "tools" / "cli.py"), "build"]
            process = subprocess.Popen(line, stderr=subprocess.DEVNULL, start_new_session=True,
                env=dict(os.environ, PATH=path, MARGAY_CACHE=str(cache)))
            while not started.exists():
                self.assertIsNone(process.poll())
                time.sleep(0.05)
            os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)
            process.wait(60)
            left = [p.name for p in cache.iterdir() if p.name != "lock"]
            if number == signal.SIGTERM:
                self.assertEqual(left, [])
        # Nobody can clean up behind SIGKILL but the next one.
        self.assertNotEqual(left, [])
        fetch._remove_left_overs(cache)
        self.assertEqual([p.name for p in cache.iterdir()], ["lock"])

    def test_what_is_in_use_stays(self):
        used = self.directory / "apt.used"
        used.mkdir()
        with open(used / fetch.OWNER, "w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            fetch._remove_left_overs(self.directory)
            self.assertTrue(used.exists())
        fetch._remove_left_overs(self.directory)
        self.assertFalse(used.exists())

    def test_a_killed_installation_leaves_nothing(self):
        self.program("dpkg-query", "exit 0\n")
        path = self.program("apt-get", f"touch {self.directory}/started; exec sleep 60\n")
        temporary = self.directory / "tmp"
        temporary.mkdir()
        script = f'set -euo pipefail; source "{ROOT}/tools/setup.sh"; install_missing_packages check'
        process = subprocess.Popen(["bash", "-c", script], stderr=subprocess.DEVNULL,
            env=dict(os.environ, PATH=path, TMPDIR=str(temporary)))
        while not (self.directory / "started").exists():
            self.assertIsNone(process.poll())
            time.sleep(0.05)
        process.terminate()
        self.assertEqual(process.wait(60), 143)
        self.assertEqual(list(temporary.iterdir()), [])


class Packages(unittest.TestCase):
    def packages(self, *arguments):
        script = f'source "{ROOT}/tools/setup.sh"; packages_of "$@"'
        done = subprocess.run(["bash", "-c", script, "bash", *arguments], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    def test_a_run_needs_no_test_tools(self):
        self.assertTrue({"g++", "xorriso", "qemu-system-x86"} <= self.packages("run"))
        for package in ("clang-14", "libgtest-dev", "gdb", "bochs", "clang-tidy-14", "ovmf"):
            self.assertNotIn(package, self.packages("run", "--headless"))
            self.assertIn(package, self.packages("setup"))
        self.assertIn("ovmf", self.packages("run", "--uefi"))
        self.assertIn("bochs", self.packages("run", "--machine", "bochs"))
        self.assertIn("libgtest-dev", self.packages("test", "x"))
        self.assertNotIn("qemu-system-x86", self.packages("check", "x"))


class Places(Temporary):
    """Checkouts that are copied, moved or cannot be written, and builds outside of them."""

    def copy(self, name):
        target = self.directory / name
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns("build", ".git", "corpus"))
        return target

    def check(self, root, **environment):
        return margay("check", str(root / "boot" / "manifest.json"), root=root, MARGAY_CACHE=str(common.cache()),
            **environment)

    def source_of(self, tree):
        return re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", (tree / "CMakeCache.txt").read_text(), re.M)[1]

    def test_a_copy_builds_its_own_sources_and_a_moved_one_builds(self):
        first = self.copy("first")
        self.assertEqual(self.check(first).returncode, 0)
        second = self.directory / "second"
        shutil.copytree(first, second, symlinks=True)
        source = second / "servers" / "init" / "manifest.cpp"
        source.write_text(source.read_text() + "#error this copy\n")
        done = self.check(second)
        self.assertEqual(done.returncode, 1)
        self.assertIn("this copy", done.stderr)
        shutil.rmtree(second)
        third = self.directory / "third"
        first.rename(third)
        done = self.check(third)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.source_of(third / "build" / "release"), str(third))

    def test_a_read_only_checkout_is_not_written_to(self):
        tree = self.copy("tree")
        before = {p: p.stat().st_mtime_ns for p in [tree, *tree.rglob("*")]}
        for path in before:
            path.chmod(path.stat().st_mode & ~0o222)
        done = self.check(tree, MARGAY_BUILD=str(self.directory / "out"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(before, {p: p.stat().st_mtime_ns for p in [tree, *tree.rglob("*")]})
        self.assertTrue((self.directory / "out" / "release" / "tools" / "check_manifest").exists())
        # Nothing is to be done the second time, and nothing is said.
        self.assertEqual(self.check(tree, MARGAY_BUILD=str(self.directory / "out")).stderr, "")
        for path in before:
            path.chmod(path.stat().st_mode | 0o200)


class Progress(unittest.TestCase):
    def said(self, moment, lines):
        """What a step says that goes on until it has said so much."""
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            with unittest.mock.patch.multiple(common, PROGRESS_SECONDS=0.6):
                with unittest.mock.patch.object(common.Step, "MOMENT_SECONDS", moment), common.Step("building") as step:
                    step.at("[1/9] a.o")
                    deadline = time.monotonic() + 60
                    while errors.getvalue().count("\n") < lines and time.monotonic() < deadline:
                        time.sleep(0.05)
        return errors.getvalue().splitlines()

    def test_a_long_step_says_that_it_goes_on(self):
        self.assertEqual(self.said(0.1, 2)[:2], ["margay: building [1/9] a.o"] * 2)

    def test_a_short_one_says_nothing(self):
        self.assertEqual(self.said(60, 0), [])


class Needed(unittest.TestCase):
    def test_only_what_the_pattern_needs(self):
        for pattern, wanted in {
            "^unit.init": {"unit_init"},
            "ManifestErrors.*LongName": {"unit_init"},
            "^system.abi$": {"ukernel", "test_abi"},
            "^fuzz.elf$": {"fuzz_elf"},
            "^system.vmm_crash$": {"ukernel", "init", "pmem", "console", "pci", "vmm", "vmm_faulty"},
            "^system.node_define$": {"ukernel", "init", "pmem", "console", "pci", "vmm", "guest_idle"},
            "^tools.python$": set(),
            "no such test": set(),
        }.items():
            self.assertEqual(needed.targets(BUILD, pattern), wanted, pattern)

    def test_no_regular_expression(self):
        with self.assertRaises(common.Usage):
            needed.targets(BUILD, "(")


class Ends(unittest.TestCase):
    def test_a_halted_guest_has_a_status_of_its_own(self):
        console = b"margay: guest a failed: halted with interrupts off: nothing can wake it\r\n"
        self.assertEqual(qemu.end_of(machine.STATUS_FAILED, console).status, machine.EXIT_HALTED)
        self.assertEqual(qemu.end_of(machine.STATUS_FAILED, b"margay: guest a failed: x\r\n").status, 1)

    def test_a_late_power_off_does_not_hide_the_reason(self):
        console = b"margay: guest a failed: x\r\nmargay: this machine cannot be turned off by software; it\r\n"
        self.assertEqual(qemu.end_of(machine.STATUS_FAILED, console).reason, "margay: guest a failed: x")

    def test_the_status_of_a_command(self):
        line = "Margay guest: the command ended with status "
        self.assertEqual(machine.command_status(f"x\r\n{line}3\r\n[0.1] reboot\r\n".encode()), 3)
        self.assertEqual(machine.command_status(f"{line}7\r\n{line}0\r\n".encode()), 0)
        self.assertIsNone(machine.command_status(f"say {line}3\r\n".encode()))

    def test_console_output_is_taken_while_nobody_waits_for_it(self):
        reading, writing = os.pipe()
        output = machine.Output(open(reading, "rb", buffering=0))
        with open(writing, "wb", buffering=0) as pipe:
            self.assertIsNone(output.grows(0))
            for _ in range(100):  # a pipe holds 64 KiB
                pipe.write(bytes(4096))
            while len(output.bytes()) < 100 * 4096:
                self.assertIsNotNone(output.grows(60))
            output.grows(0)
            with output.unread():
                pipe.write(b"what nobody takes")
                self.assertIsNone(output.grows(0.05))
            self.assertTrue(output.grows(60))
        self.assertFalse(output.grows(60))
        self.assertTrue(output.bytes().endswith(b"what nobody takes"))
        output.close()

    def test_queries_are_taken_out_of_the_output_wherever_it_is_cut(self):
        text = b"a\x1b[6nb\x1b[31mred\x1b[0m\x1b[c\x1bZ\x1b[?5n end\x1b"
        for cut in range(len(text) + 1):
            queries = machine.Queries()
            seen = queries.without(text[:cut]) + queries.without(text[cut:]) + queries.rest()
            self.assertEqual(seen, b"ab\x1b[31mred\x1b[0m end\x1b")


if __name__ == "__main__":
    unittest.main()
