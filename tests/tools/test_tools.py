#!/usr/bin/python3
"""Tests of the tools that need neither a build nor the emulator."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench  # noqa: E402
import common  # noqa: E402
import image  # noqa: E402
import initramfs  # noqa: E402
import qemu  # noqa: E402


def parsed(manifest):
    return json.loads(re.sub(r"(?m)^\s*//.*$", "", manifest.decode()))


class Manifest(unittest.TestCase):
    def test_the_default_is_json_with_comments(self):
        default = parsed(image.manifest())
        self.assertEqual(default["vms"][0]["memory_mib"], 256)
        self.assertEqual(default["test_exit_port"], qemu.EXIT_PORT)

    def test_changes_one_value_and_keeps_the_comments(self):
        changed = image.manifest(append='a="b \\ c" // no comment', memory_mib=512)
        self.assertIn(b"// The virtual machines", changed)
        text = changed.decode()
        self.assertIn('"append": ' + json.dumps('a="b \\ c" // no comment'), text)
        self.assertEqual(parsed(changed)["vms"][0]["memory_mib"], 512)

    def test_a_removed_key_leaves_valid_json(self):
        self.assertNotIn("initrd", parsed(image.manifest(initrd=None))["vms"][0])

    def test_an_unknown_key_is_an_error(self):
        with self.assertRaises(ValueError):
            image.manifest(colour="blue")


class Image(unittest.TestCase):
    def make(self, directory, name, modules, arguments=""):
        kernel = pathlib.Path(directory, "kernel")
        kernel.write_bytes(b"kernel")
        return image.make(pathlib.Path(directory, name), kernel, modules, arguments).read_bytes()

    def test_twice_gives_the_same_bits(self):
        with tempfile.TemporaryDirectory() as directory:
            modules = [("init", b"1" * 5000), ("manifest", b"{}")]
            first = self.make(directory, "a.iso", modules)
            self.assertEqual(first, self.make(directory, "b.iso", modules))
            self.assertNotEqual(first, self.make(directory, "b.iso", modules[:1]))

    def test_bad_input_is_refused(self):
        bad = [
            ([("a b", b"x")], ""),
            ([("init", b"x"), ("init", b"y")], ""),
            ([("ukernel", b"x")], ""),
            ([("init", pathlib.Path("/no/such/file"))], ""),
            ([], "a; b"),
        ]
        with tempfile.TemporaryDirectory() as directory:
            for modules, arguments in bad:
                with self.subTest(modules=modules), self.assertRaises(common.Usage):
                    self.make(directory, "a.iso", modules, arguments)
            self.assertFalse(pathlib.Path(directory, "a.iso").exists())


class Initramfs(unittest.TestCase):
    def unpacked(self, data):
        """{name: content} of concatenated archives."""
        found, at = {}, 0
        while at < len(data):
            if data[at] == 0:
                at += 1
                continue
            self.assertEqual(data[at : at + 6], b"070701")
            fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
            size, name_size = fields[6], fields[11]
            name = data[at + 110 : at + 110 + name_size - 1].decode()
            body = at + 110 + name_size
            body += -body % 4
            found[name] = data[body : body + size]
            at = body + size
            at += -at % 4
        return found

    def test_the_init_is_in_it(self):
        self.assertEqual(self.unpacked(initramfs.minimal(b"program"))["init"], b"program")

    def test_a_command_is_one_more_archive_whatever_its_quotes(self):
        command = "echo \"it's\" $HOME `date` \\"
        files = self.unpacked(initramfs.with_command(initramfs.minimal(b"odd"), command))
        self.assertEqual(files["etc/margay-exec"].decode(), command + "\n")
        self.assertEqual(files["init"], b"odd")


class End(unittest.TestCase):
    def test_power_off(self):
        self.assertEqual(qemu.end_of(33, b"").status, 0)

    def test_failure_takes_the_last_line_of_the_node(self):
        console = b"margay: first\r\nmargay: guest linux failed: triple fault\r\nrax 0\r\n"
        end = qemu.end_of(35, console)
        self.assertEqual((end.status, end.reason), (1, "margay: guest linux failed: triple fault"))

    def test_a_reset_is_a_failure_and_leaving_is_none(self):
        self.assertEqual(qemu.end_of(0, b"").status, 1)
        self.assertEqual(qemu.end_of(0, b"shell# QEMU: Terminated\n\r").status, 0)

    def test_a_failure_of_qemu_says_what_qemu_said(self):
        self.assertEqual(qemu.end_of(1, b"", "qemu: no memory\n").reason, "margay: qemu: no memory")


class BenchLines(unittest.TestCase):
    def test_line(self):
        found = bench.LINE.match('bench: exit_cpuid 500.5 instructions 1000 {"vmrun": 1}\r')
        self.assertEqual(found.groups(), ("exit_cpuid", "500.5", "instructions", "1000", '{"vmrun": 1}'))
        self.assertTrue(bench.LINE.match("bench: a 1 bytes 1"))
        self.assertFalse(bench.LINE.match("bench: starting"))

    def test_code_lines(self):
        with tempfile.TemporaryDirectory() as directory:
            text = "// no\n\n/* no\n no */\nint a;  // yes\n}\n"
            pathlib.Path(directory, "a.cpp").write_text(text)
            self.assertEqual(bench.code_lines(directory), 2)


class CommandLine(unittest.TestCase):
    def run_margay(self, *arguments):
        line = [sys.executable, "-B", str(ROOT / "tools" / "cli.py"), *arguments]
        return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def test_bad_usage_is_2(self):
        bad = [
            [],
            ["fly"],
            ["run", "--memory", "much"],
            ["run", "--memory", "0"],
            ["run", "--cores", "-1"],
            ["run", "--timeout", "0"],
            ["run", "--kernel", "/no/such/file"],
            ["run", "--initrd", "/no/such/file"],
            ["run", "--exec", "id", "--initrd", "/etc/passwd"],
            ["run", "--log", "/no/such/directory/log"],
            ["test", "a", "b"],
        ]
        for arguments in bad:
            with self.subTest(arguments=arguments):
                done = self.run_margay(*arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertNotIn("Traceback", done.stderr)

    def test_help(self):
        for command in ("setup", "build", "run", "test", "bench", "image", "format", "lint"):
            done = self.run_margay(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("usage: margay " + command, done.stdout)


if __name__ == "__main__":
    unittest.main()
