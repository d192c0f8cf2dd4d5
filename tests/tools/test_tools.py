#!/usr/bin/python3
"""Tests of the tools that need neither a build nor the emulator."""

import argparse
import ast
import builtins
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import xml.dom.minidom

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench  # noqa: E402
import bench_run  # noqa: E402
import bochs  # noqa: E402
import common  # noqa: E402
import ctl  # noqa: E402
import image  # noqa: E402
import initramfs  # noqa: E402
import layers  # noqa: E402
import node_image  # noqa: E402
import qemu  # noqa: E402
import record  # noqa: E402


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


    def test_bochs_has_another_exit_port(self):
        self.assertEqual(parsed(bochs.manifest(image.manifest()))["test_exit_port"], bochs.EXIT_PORT)


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


class Bochs(unittest.TestCase):
    """With a program in Bochs' place: what the driver makes of its serial line, its messages and its end."""

    def ended(self, program, *options):
        with tempfile.TemporaryDirectory() as directory:
            fake = pathlib.Path(directory, "bochs")
            fake.write_text(f"#!/usr/bin/python3\nimport re, sys, time\n"
                "com1 = open(re.search(r'com1:.*dev=(\\S+)', open('bochsrc').read())[1], 'r+b', buffering=0)\n"
                + program)
            fake.chmod(0o755)
            path = f"{directory}:{os.environ['PATH']}"
            return subprocess.run(bochs.command("no.iso", 64) + list(options), input="hello\n", text=True,
                capture_output=True, timeout=60, env=dict(os.environ, PATH=path))

    def test_the_byte_at_the_exit_port_is_the_status_and_ends_it(self):
        for byte, status in (("\\x10", qemu.STATUS_OFF), ("\\x11", qemu.STATUS_FAILED)):
            done = self.ended(f"com1.write(b'last words\\n')\nprint('{byte}', flush=True)\ntime.sleep(600)\n")
            self.assertEqual((done.returncode, done.stdout), (status, "last words\n"))

    def test_input_reaches_com1(self):
        done = self.ended("com1.write(com1.read(6).upper())\nprint('\\x10', flush=True)\n")
        self.assertEqual(done.stdout, "HELLO\n")

    def test_turned_off_by_acpi_without_an_exit_port(self):
        self.assertEqual(self.ended("print('0p[ACPI ] >>PANIC<< ACPI control: soft power off')\n").returncode, 0)

    def test_a_panic_of_bochs_is_said(self):
        done = self.ended("print('0p[CPU0 ] >>PANIC<< no more')\nsys.exit(1)\n")
        self.assertEqual((done.returncode, done.stderr), (1, "Bochs: no more\n"))


class BenchLines(unittest.TestCase):
    def test_line(self):
        found = bench_run.LINE.match('bench: exit_cpuid 500.5 instructions 1000 {"vmrun": 1}\r')
        self.assertEqual(found.groups(), ("exit_cpuid", "500.5", "instructions", "1000", '{"vmrun": 1}'))
        self.assertTrue(bench_run.LINE.match("bench: a 1 bytes 1"))
        self.assertFalse(bench_run.LINE.match("bench: starting"))

    def test_parts_in_their_order_and_what_they_need(self):
        with tempfile.TemporaryDirectory() as directory:
            tree = pathlib.Path(directory)
            (tree / "bench").mkdir()
            run = {"kernel": str(tree / "modules/ukernel"), "prefix": "", "modules":
                   [f"init={tree}/modules/bench_ipc", "manifest=/source/ipc.json", "text=text:words"]}
            (tree / "bench" / "ipc.json").write_text(json.dumps(run))
            self.assertEqual(bench.parts(tree)[0], "ipc")
            self.assertEqual(bench.targets(tree, ["ipc"]), {"ukernel", "bench_ipc"})
            self.assertIn("pci", bench.targets(tree, ["ipc", "devices"]))
            self.assertEqual(bench.chosen(tree, "sizes,ipc"), ["ipc", "sizes"])
            self.assertEqual(bench.chosen(tree, None), bench.parts(tree))
            with self.assertRaises(common.Usage):
                bench.chosen(tree, "ipc,")

    def test_code_lines(self):
        with tempfile.TemporaryDirectory() as directory:
            text = "// no\n\n/* no\n no */\nint a;  // yes\n}\n"
            pathlib.Path(directory, "a.cpp").write_text(text)
            self.assertEqual(bench.code_lines(directory), 2)


def run_margay(*arguments):
    line = [sys.executable, "-B", str(ROOT / "tools" / "cli.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL)


class BackEnd(unittest.TestCase):
    def test_only_svm_names_the_vmcb(self):
        """Generic code sees a guest through arch/x86_64/backend.hpp alone."""
        kernel = ROOT / "ukernel"
        svm = kernel / "arch/x86_64/svm"
        inside = outside = 0
        for path in kernel.rglob("*"):
            if not path.is_file():
                continue
            text = path.read_text()
            if svm in path.parents:
                inside += "vmcb" in text.lower()
                continue
            outside += 1
            self.assertNotIn("vmcb", text.lower(), path)
            includes = [l for l in text.splitlines() if "#include" in l and "/svm/" in l]
            if path.name != "selected_backend.hpp":
                self.assertEqual(includes, [], path)
        self.assertGreater(inside, 3)
        self.assertGreater(outside, 50)


class GuestCommandLine(unittest.TestCase):
    def test_what_the_user_names_is_not_given_twice(self):
        for append, whole in {
            "": "console=ttyS0 panic=-1",
            "quiet": "console=ttyS0 panic=-1 quiet",
            "console=tty0": "panic=-1 console=tty0",
            "panic=5 quiet": "console=ttyS0 panic=5 quiet",
            # These contain "console=" and name no console.
            "netconsole=@/,@10.0.0.1/": "console=ttyS0 panic=-1 netconsole=@/,@10.0.0.1/",
            'note="a console=ttyS1 b"': 'console=ttyS0 panic=-1 note="a console=ttyS1 b"',
            "quiet -- console=x": "console=ttyS0 panic=-1 quiet -- console=x",
            '"console=ttyS1"': 'panic=-1 "console=ttyS1"',
        }.items():
            self.assertEqual(node_image.command_line(append), whole)

    def test_it_may_be_as_long_as_linux_takes_it(self):
        room = 2047 - len(node_image.COMMAND_LINE) - 1
        self.assertEqual(len(node_image.command_line("x" * room)), 2047)
        for bad in ("x" * (room + 1), "é" * (room // 2 + 1), "a\tb", "a\nb", "\udcff"):
            with self.assertRaisesRegex(common.Usage, "--append"):
                node_image.command_line(bad)


class Recording(unittest.TestCase):
    def test_each_line_appears_when_it_came_and_is_there_without_animation(self):
        recording = record.Recording()
        recording.lines = [(0, 0.0, 'guest:/root# echo "<&>"'), (1, 1.25, "$ ./margay ctl list"), (0, 2.0, "<&>")]
        picture = xml.dom.minidom.parseString(record.draw(recording))
        lines = picture.getElementsByTagName("text")
        texts = ["".join(node.data for node in line.childNodes) for line in lines]
        self.assertEqual(texts, [record.TITLES[0], 'guest:/root# echo "<&>"', "<&>", record.TITLES[1], "$ ./margay ctl list"])
        self.assertEqual(lines[4].getAttribute("style"), "animation:later 1.8s")
        self.assertEqual(lines[2].getAttribute("visibility"), "")


def bzimage(init_size=8 << 20, version=0x20F, flags=1):
    """A file that has a Linux kernel's header and nothing else."""
    data = bytearray(0x1000)
    data[0x202:0x206] = b"HdrS"
    data[0x206:0x208] = version.to_bytes(2, "little")
    data[0x236] = flags
    data[0x258:0x260] = (16 << 20).to_bytes(8, "little")
    data[0x260:0x264] = init_size.to_bytes(4, "little")
    return bytes(data)


class GuestFiles(unittest.TestCase):
    def check(self, kernel, initrd_bytes, memory_mib):
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory, "kernel")
            file.write_bytes(kernel)
            wanted = node_image.Wanted("--kernel k", "--initrd i")
            node_image.check_kernel(file, initrd_bytes, memory_mib, wanted)

    def test_what_fits_is_taken(self):
        self.check(bzimage(), 0, 24)
        self.check(bzimage(), 8 << 20, 32)
        self.check(bzimage(version=0x204, flags=0), 255 << 20, 256)
        self.check(b"\x7fELF" + bytes(60), 0, 4)
        self.check(bytes(8180) + struct.pack("<III", 0x1BADB002, 3, -(0x1BADB002 + 3) & 0xFFFFFFFF), 0, 4)

    def test_what_cannot_work_is_refused_by_name(self):
        for kernel, initrd, memory in (
            (b"text", 0, 256),
            (bytes(0x1000), 0, 256),
            (bzimage(version=0x1FF), 0, 256),
            (struct.pack("<III", 0x1BADB002, 3, 4), 0, 256),
            (bytes(8192) + struct.pack("<III", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF), 0, 256),
            (bzimage(), 0, 23),
            (bzimage(), 100 << 20, 23),
        ):
            with self.subTest(initrd=initrd, memory=memory), self.assertRaisesRegex(common.Usage, "^--kernel k: "):
                self.check(kernel, initrd, memory)

    def test_a_too_large_initrd_is_what_is_named(self):
        for kernel, initrd, memory in (
            (bzimage(version=0x204), 255 << 20, 255),
            (bzimage(), (8 << 20) + 1, 32),
            (bzimage(), 3100 << 20, 8192),
        ):
            with self.subTest(initrd=initrd, memory=memory), self.assertRaisesRegex(common.Usage, "^--initrd i: "):
                self.check(kernel, initrd, memory)

    def test_where_a_file_comes_from(self):
        vm = {"name": "a", "kernel": "kernel", "initrd": "big", "memory_mib": 256}
        options = argparse.Namespace(manifest="n.json", kernel=None, initrd=None, module=["x=/x", "big=/tmp/b"])
        wanted = node_image._wanted(options, vm)
        self.assertEqual(wanted.initrd, 'n.json: VM a, key "initrd": --module big=/tmp/b')
        self.assertEqual(wanted.kernel, 'n.json: VM a, key "kernel": the default kernel')
        self.assertEqual(wanted.memory, "memory_mib")
        vm["initrd"] = "initrd"
        options = argparse.Namespace(manifest=None, kernel="/k", initrd="/i", module=[])
        wanted = node_image._wanted(options, vm)
        self.assertEqual((wanted.kernel, wanted.initrd, wanted.memory), ("--kernel /k", "--initrd /i", "--memory"))

    def test_memory_for_the_node(self):
        modules = {"init": bytes(1 << 20), "initrd": bytes(9 << 20)}
        self.assertEqual(node_image._memory([{"memory_mib": 256}], modules), 256 + qemu.NODE_MEMORY_MIB + 22)
        # From there on the guests lie above 4 GiB, in one piece.
        self.assertEqual(node_image._memory([{"memory_mib": 6144}], modules), 2048 + 6144 + qemu.NODE_MEMORY_MIB)
        self.assertEqual(node_image._memory([{"memory_mib": 2000}, {"memory_mib": 1000}], modules),
            2048 + 3000 + qemu.NODE_MEMORY_MIB)


class FakeNode:
    """Answers at a socket as a node does: each request line with what `answer` makes of it."""

    def __init__(self, directory, answer):
        self.path = pathlib.Path(directory, "ctl")
        self.requests = []
        self._answer = answer
        self._listener = ctl.listen(self.path)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as file:
                for line in file:
                    if not line.strip():
                        continue
                    self.requests.append(json.loads(line))
                    for reply in self._answer(self.requests[-1]):
                        file.write(reply if isinstance(reply, bytes) else json.dumps(reply).encode() + b"\n")
                    file.flush()

    def close(self):
        self._listener.close()


class Ctl(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def node(self, answer, directory=None):
        node = FakeNode(directory or self.directory.name, answer)
        self.addCleanup(node.close)
        return node

    def ctl(self, node, *words):
        return run_margay("ctl", "--socket", str(node.path), *words)

    def test_table_message_and_json(self):
        vm = {"id": 1, "name": "linux", "memory_mib": 256, "vmm": "vmm"}
        results = {"list": [vm], "dominfo": {**vm, "saved": False, "reason": ""},
                   "suspend": {"message": "VM 'linux' suspended", "vm": vm}}
        node = self.node(lambda r: [{"id": r["id"], "ok": True, "result": results[r["command"]]}])
        done = self.ctl(node, "list")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], "Id  Name   Memory (MiB)  VMM")
        self.assertEqual(lines[2], "1   linux  256           vmm")
        done = self.ctl(node, "dominfo", "linux")
        self.assertIn("Memory (MiB):  256\n", done.stdout)
        self.assertIn("Saved:         no\nReason:        -\n", done.stdout)
        self.assertEqual(self.ctl(node, "suspend", "linux").stdout, "VM 'linux' suspended\n")
        self.assertEqual(json.loads(self.ctl(node, "--json", "list").stdout)["result"], [vm])

    def test_words_become_a_request(self):
        self.assertEqual(ctl.request(["list"]), {"command": "list"})
        self.assertEqual(ctl.request(["vmm-swap", "a", "b"]), {"command": "vmm-swap", "vm": "a", "module": "b"})
        self.assertEqual(ctl.request(["help", "save"]), {"command": "help", "topic": "save"})

    def test_refusal_is_1(self):
        node = self.node(lambda r: [{"id": r["id"], "ok": False, "error": "no such domain"}])
        done = self.ctl(node, "start", "x")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", "error: no such domain\n"))
        done = self.ctl(node, "--json", "start", "x")
        self.assertEqual(done.returncode, 1)
        self.assertFalse(json.loads(done.stdout)["ok"])

    def test_only_its_own_reply_counts(self):
        others = [b'tail of a line"}\n', {"id": "other", "ok": False, "error": "x"}, {"id": None, "ok": False}, [1]]
        node = self.node(lambda r: [*others, {"id": r["id"], "ok": True, "result": []}])
        self.assertEqual(self.ctl(node, "list").stdout, "none\n")

    def test_silence_is_an_error_in_time(self):
        node = self.node(lambda r: [])
        done = self.ctl(node, "--timeout", "0.3", "list")
        self.assertEqual(done.returncode, ctl.EXIT_NO_ANSWER)
        self.assertIn("no answer within 0.3 s", done.stderr)

    def test_nobody_there(self):
        done = run_margay("ctl", "--socket", self.directory.name + "/none", "help")
        self.assertEqual(done.returncode, ctl.EXIT_UNREACHABLE)
        self.assertIn("usage: margay ctl", done.stdout)
        self.assertIn("no node is running", done.stderr)
        self.assertEqual(run_margay("ctl").returncode, 0)

    def test_several_at_a_time(self):
        node = self.node(lambda r: [{"id": r["id"], "ok": True, "result": {"message": r["vm"]}}])
        answers = {}

        def ask(name):
            with ctl.Client(node.path, 20) as client:
                answers[name] = client.ask({"command": "start", "vm": name})[1]["result"]["message"]

        threads = [threading.Thread(target=ask, args=(f"vm{i}",)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, {f"vm{i}": f"vm{i}" for i in range(12)})

    def test_long_paths_and_left_over_sockets(self):
        deep = pathlib.Path(self.directory.name, *["d" * 60] * 4)
        deep.mkdir(parents=True)
        node = self.node(lambda r: [{"id": r["id"], "ok": True, "result": []}], deep)
        self.assertEqual(self.ctl(node, "list").returncode, 0)
        self.assertIsNone(ctl.listen(node.path), "another node is there")
        left = pathlib.Path(self.directory.name, "left")
        ctl.listen(left).close()
        ctl.listen(left).close()
        left.unlink()
        left.write_text("no socket")
        with self.assertRaises(common.Usage):
            ctl.listen(left)
        self.assertTrue(os.path.exists(left))


class Layers(unittest.TestCase):
    def test_no_include_of_the_kernel_runs_upward(self):
        self.assertEqual(layers.check(), [])

    def test_upward_includes_and_files_without_a_room_are_found(self):
        with tempfile.TemporaryDirectory() as directory:
            kernel = pathlib.Path(directory, "ukernel")
            for name, text in {
                "CMakeLists.txt": "# Order\n#   1  low high/early.hpp\n#   2  high\n\n#   3  nowhere\n",
                "low/a.hpp": '#include "ukernel/high/early.hpp"\n#include "ukernel/low/b.hpp"\n',
                "low/b.cpp": '#include <new>\n#include "ukernel/high/late.hpp"\n',
                "high/late.hpp": '#include "ukernel/low/a.hpp"\n',
                "high/early.hpp": '  #  include "ukernel/high/late.hpp"\n',
                "nowhere/c.S": "",
            }.items():
                path = kernel / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            found = layers.check(pathlib.Path(directory))
        self.assertEqual(len(found), 3, found)
        self.assertIn("ukernel/high/early.hpp: includes ukernel/high/late.hpp", found[0])
        self.assertIn("ukernel/low/b.cpp: includes ukernel/high/late.hpp", found[1])
        self.assertIn("ukernel/nowhere/c.S: has no room", found[2])


class Names(unittest.TestCase):
    def undefined(self, text):
        """Names that are used and that nothing in the file defines, whatever their scope."""
        tree = ast.parse(text)
        known = set(dir(builtins)) | {"__file__"}
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                known.add(node.name)
            elif isinstance(node, ast.arg):
                known.add(node.arg)
            elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                known.add(node.id)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                known.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ExceptHandler):
                known.add(node.name)
        return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - known

    def test_everything_that_is_named_is_there(self):
        """What only a long measurement reaches would else be found at its end."""
        self.assertEqual(self.undefined("import a\ndef f(x): return a.b(x, c)\n"), {"c"})
        for folder in ("tools", "tests"):
            for path in (ROOT / folder).rglob("*.py"):
                self.assertEqual(self.undefined(path.read_text()), set(), path)


class CommandLine(unittest.TestCase):

    def test_bad_usage_is_2(self):
        bad = [
            [],
            ["fly"],
            ["run", "--memory", "much"],
            ["run", "--memory", "0"],
            ["run", "--cores", "-1"],
            ["run", "--timeout", "0"],
            ["run", "--kernel", "/no/such/file"],
            ["run", "--kernel", ""],
            ["run", "--append", "a\nb"],
            ["run", "--append", "x" * 2048],
            ["run", "--manifest", "/no/such/file"],
            ["run", "--manifest", "/etc/passwd", "--memory", "64"],
            ["run", "--module", "x"],
            ["run", "--module", "x=/no/such/file"],
            ["run", "--module", "init=/no/such/file"],
            ["run", "--module", "x=/etc/passwd", "--module", "x=/etc/passwd"],
            ["run", "--module", "kernel=/etc/passwd", "--kernel", "/etc/passwd"],
            ["run", "--vmm", "x=/etc/passwd"],
            ["check"],
            ["check", "/no/such/file"],
            ["run", "--initrd", "/no/such/file"],
            ["run", "--exec", "id", "--initrd", "/etc/passwd"],
            ["run", "--log", "/no/such/directory/log"],
            ["test", "a", "b"],
            ["run", "--ctl", "/no/such/directory/ctl"],
            ["ctl", "list", "a", "b", "c"],
            ["ctl", "--timeout", "0", "list"],
        ]
        for arguments in bad:
            with self.subTest(arguments=arguments):
                done = run_margay(*arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertNotIn("building", done.stderr, "it was not refused before the long part")

    def test_help(self):
        for command in ("setup", "build", "run", "ctl", "test", "bench", "image", "check", "format", "lint"):
            done = run_margay(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("usage: margay " + command, done.stdout)


if __name__ == "__main__":
    unittest.main()
