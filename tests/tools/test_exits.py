#!/usr/bin/python3
"""./margay ctl exits and metrics, against a node that is none."""

import json
import os
import pathlib
import pty
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

TOOLS = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS.parents[1] / "tools")]

import ctl  # noqa: E402
import exits  # noqa: E402
import prometheus  # noqa: E402
import test_tools  # noqa: E402

NODE = {"cores": 2, "memory_free": 1 << 30, "memory_used": 3 << 20, "memory_extents": 4, "slots": 5, "windows": 6,
        "console_deaths": 1, "pmem_deaths": 0, "pci_deaths": 2}
ODD = 'a "b" \\c'


def vm(name, state="running", number=1):
    return {"id": number, "name": name, "state": state, "core": 0, "memory_mib": 64, "exits": 9, "vmm": "vmm", "restarts": 3}


class Exits(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.looks = 0
        self.vms = [vm("linux"), vm(ODD, number=2), vm("off", "shut off", 3)]
        self.node = test_tools.FakeNode(self.directory.name, self.answer)
        self.addCleanup(self.node.close)

    def answer(self, request):
        """Each look at the VM `linux` finds 100 exits of class cpuid more, which took 3 ms."""
        reply = {"id": request["id"], "ok": True}
        name = request.get("vm")
        if request["command"] == "list":
            reply["result"] = self.vms
        elif request["command"] == "nodeinfo":
            reply["result"] = NODE
        elif name == "linux":
            self.looks += 1
            reply["result"] = {"vm": name, "vcpus": [
                {"core": 0, "exits": {"startup": [1, 5000], "cpuid": [100 * self.looks, 3_000_000 * self.looks]},
                 "kernel": {"interrupt": 7}},
                {"core": 1, "exits": {"legacy FPU error": [2, 2**60 + 1]}, "kernel": {}}]}
        elif name == ODD:
            reply["result"] = {"vm": name, "vcpus": [{"core": 0, "exits": {}, "kernel": {}}]}
        elif name == "off":
            reply |= {"ok": False, "error": "VM 'off' is off", "kind": "state"}
        else:
            reply |= {"ok": False, "error": "there is no VM", "kind": "not found"}
        return [reply]

    def ctl(self, *words):
        return test_tools.run_margay("ctl", "--socket", str(self.node.path), *words)

    def client(self):
        return ctl.Client(self.node.path, 60)

    def test_stats(self):
        done = self.ctl("exits", "stats")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0].split(), ["VM", "vCPU", "Class", "Exits", "Time", "(ms)", "Each", "(us)"])
        self.assertEqual(lines[2].split(), ["linux", "0", "startup", "1", "0.005", "5.000"])
        self.assertEqual(lines[3].split(), ["linux", "0", "cpuid", "100", "3.000", "30.000"])
        self.assertEqual(lines[4].split(), ["linux", "0", "kernel:", "interrupt", "7", "-", "-"])
        self.assertTrue(lines[5].startswith("linux  1     legacy FPU error"), lines)
        self.assertEqual(len(lines), 6)

    def test_stats_as_json(self):
        reply = json.loads(self.ctl("exits", "stats", "linux", "--json").stdout)
        self.assertTrue(reply["ok"])
        self.assertEqual(reply["result"][0]["vcpus"][1]["exits"], {"legacy FPU error": [2, 2**60 + 1]})
        self.assertEqual([item["vm"] for item in json.loads(self.ctl("exits", "stats", "--json").stdout)["result"]],
                         ["linux", ODD])

    def test_what_is_refused(self):
        for name, status, kind in (("off", 6, "state"), ("none", 5, "not found")):
            done = self.ctl("exits", "stats", name)
            self.assertEqual((done.returncode, done.stdout), (status, ""))
            self.assertTrue(done.stderr.startswith("error: "), done.stderr)
            self.assertEqual(json.loads(self.ctl("exits", "stats", name, "--json").stdout)["kind"], kind)
            self.assertEqual(self.ctl("exits", "top", name).returncode, status)
        for words in (["exits"], ["exits", "linux"], ["exits", "plot"], ["exits", "stats", "a", "b"], ["metrics", "a"],
                      ["list", "--seconds", "1"], ["exits", "top", "--seconds", "0"]):
            self.assertEqual(self.ctl(*words).returncode, 2, words)
        self.assertEqual(self.ctl("exits", "plot", "/none/file.svg", "--seconds", "1").returncode, 2)

    def test_top_shows_an_interval_where_there_is_no_terminal(self):
        done = self.ctl("exits", "top", "linux")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertNotIn("\x1b", done.stdout)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[2].split()[:3], ["linux", "0", "cpuid"])
        self.assertEqual(lines[2].split()[-1], "200")
        self.assertEqual(len(lines), 3, "what did not happen is not shown")

    def test_top_refreshes_in_a_terminal(self):
        ours, theirs = pty.openpty()
        line = [sys.executable, "-B", str(TOOLS.parents[1] / "tools" / "cli.py"), "ctl", "--socket", str(self.node.path),
                "exits", "top", "--seconds", "2"]
        with subprocess.Popen(line, stdout=theirs, stdin=subprocess.DEVNULL) as process:
            os.close(theirs)
            shown = b""
            try:
                while data := os.read(ours, 4096):
                    shown += data
            except OSError:  # the terminal's other end has gone
                pass
        os.close(ours)
        self.assertEqual(process.returncode, 0)
        views = shown.decode().split("\x1b[H\x1b[J")[1:]
        self.assertGreaterEqual(len(views), 2)
        self.assertIn("cpuid", views[0])

    def test_differences(self):
        key, other = ("a", 0, "cpuid"), ("a", 1, "cpuid")
        before = {key: exits.Count(10, 100), other: exits.Count(5, 50)}
        now = {key: exits.Count(12, 130), other: exits.Count(2, 20)}
        self.assertEqual(exits.differences(before, now), {key: exits.Count(2, 30), other: exits.Count(2, 20)})
        # One that waits: it was counted before, and takes longer.
        self.assertEqual(exits.differences({key: exits.Count(1, 5)}, {key: exits.Count(1, 9)}), {key: exits.Count(0, 4)})

    def test_metrics_are_of_the_format(self):
        found = prometheus.parse(self.ctl("metrics").stdout)
        value = prometheus.value
        self.assertEqual(value(found, "margay_exits_total", vm="linux", vcpu=0, **{"class": "cpuid"}), 100)
        self.assertEqual(value(found, "margay_exits_total", vm="linux", vcpu=1, **{"class": "legacy_fpu_error"}), 2)
        self.assertEqual(value(found, "margay_exit_seconds_total", vm="linux", vcpu=0, **{"class": "cpuid"}), 0.003)
        self.assertEqual(value(found, "margay_kernel_exits_total", vm="linux", vcpu=0, kind="interrupt"), 7)
        self.assertEqual(value(found, "margay_vms", state="running"), 2)
        self.assertEqual(value(found, "margay_vms", state="shut_off"), 1)
        self.assertEqual(value(found, "margay_vm_memory_bytes", vm=ODD), 64 << 20)
        self.assertEqual(value(found, "margay_vm_up", vm="off"), 0)
        self.assertEqual(value(found, "margay_vmm_restarts_total", vm="linux"), 3)
        self.assertEqual(value(found, "margay_memory_free_bytes"), 1 << 30)
        self.assertEqual(value(found, "margay_server_deaths_total", server="pci"), 2)

    def test_metrics_of_a_node_without_vms(self):
        self.vms = []
        with self.client() as client:
            found = prometheus.parse(exits.metrics(client))
        self.assertNotIn("margay_exits_total", found)
        self.assertEqual(prometheus.value(found, "margay_cores"), 2)

    def test_the_reader_is_strict(self):
        good = '# HELP a_total x\n# TYPE a_total counter\na_total{b="c\\"d",e="f"} 1.5\n'
        self.assertEqual(prometheus.value(prometheus.parse(good), "a_total", b='c"d', e="f"), 1.5)
        for bad in (good[:-1], good.replace("# HELP a_total x\n", ""), good.replace("1.5", "-1"), good.replace("1.5", "x"),
                    good + good, good + 'a_total{b="c\\"d",e="f"} 2\n', good + "b 1\n", good.replace("counter", "gauge"),
                    good.replace('b="c\\"d"', 'b="c"d"'), good.replace("} 1.5", ",} 1.5"), good + "\n",
                    '# HELP a x\n# TYPE a gauge\n'):
            with self.assertRaises(ValueError, msg=bad):
                prometheus.parse(bad)

    def test_files(self):
        exits.INTERVAL_SECONDS, saved = 0.1, exits.INTERVAL_SECONDS
        self.addCleanup(setattr, exits, "INTERVAL_SECONDS", saved)
        path = pathlib.Path(self.directory.name)
        with self.client() as client:
            self.assertEqual(exits.plot(client, path / "e.svg", None, 0.3), 0)
            self.assertEqual(exits.record(client, path / "e.json", "linux", 0.3), 0)
        root = xml.etree.ElementTree.fromstring((path / "e.svg").read_text())
        space = "{http://www.w3.org/2000/svg}"
        self.assertEqual([curve.get("points") != "" for curve in root.iter(f"{space}polyline")], [True])
        self.assertIn("cpuid", [text.text for text in root.iter(f"{space}text")])
        events = json.loads((path / "e.json").read_text())["traceEvents"]
        self.assertEqual(events[0]["args"], {"name": "linux"})
        self.assertTrue(any(event["ph"] == "C" and event["args"].get("cpuid", 0) > 0 for event in events))
        # Without anything that happened.
        same = [(0.0, {}), (1.0, {})]
        xml.etree.ElementTree.fromstring(exits.svg("<&>", same))
        self.assertEqual(exits.trace(same)["traceEvents"], [])


if __name__ == "__main__":
    unittest.main()
