#!/usr/bin/python3
"""The charts of ./margay bench --plot."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import bench  # noqa: E402
import common  # noqa: E402
import plot  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def figures(**values):
    return json.dumps({"figures": {key: {"value": value} for key, value in values.items()}})


def bars(svg):
    """Class and width of each bar, in the picture's order."""
    root = xml.etree.ElementTree.fromstring(svg)
    return [(r.get("class"), float(r.get("width"))) for r in root.iter(SVG + "rect") if r.get("class")]


def texts(svg):
    return [t.text or "" for t in xml.etree.ElementTree.fromstring(svg).iter(SVG + "text")]


class History(unittest.TestCase):
    def test_the_newest_value_of_each_counts(self):
        with tempfile.TemporaryDirectory() as directory:
            directory = pathlib.Path(directory)
            (directory / "2026-01-02.json").write_text(figures(exit_cpuid=5))
            (directory / "2026-01-01.json").write_text(figures(exit_cpuid=7, exit_hypercall=9))
            self.assertEqual(plot.latest(directory), {"exit_cpuid": 5, "exit_hypercall": 9})

    def test_none(self):
        with tempfile.TemporaryDirectory() as directory, self.assertRaises(common.Failure):
            plot.latest(pathlib.Path(directory))


class Peers(unittest.TestCase):
    def test_each_has_its_name(self):
        found = lambda text: [(bar.who, bar.value) for bar in plot.peers(text)]
        self.assertEqual(found(""), [])
        self.assertEqual(found("NOVA 282, seL4 407"), [("NOVA", 282), ("seL4", 407)])
        self.assertEqual(found("KVM, in the kernel, 3632"), [("KVM, in the kernel", 3632)])
        self.assertEqual(found("KVM 0.95"), [("KVM", 0.95)])

    def test_all_that_are_compared_have_some(self):
        for key in plot.COSTS:
            self.assertTrue(plot.peers(bench.TARGETS[key][2]), key)


class Chart(unittest.TestCase):
    def test_bars_are_as_long_as_the_values(self):
        svg = plot.draw("t", "w", plot.costs({"ipc_round_trip_0w": 111, "exit_cpuid": 442}))
        self.assertEqual([kind for kind, _ in bars(svg)], ["ours", "other", "other", "ours", "other"])
        longest = bars(svg)[-1][1]
        self.assertGreater(longest, plot.WIDTH / 3)
        for (_, width), value in zip(bars(svg), (111, 282, 407, 442, 2775)):
            self.assertAlmostEqual(width, longest * value / 2775, delta=0.06)
        self.assertIn("2 775", texts(svg))
        self.assertIn("KVM, in the kernel", texts(svg))

    def test_ratios_end_at_native(self):
        svg = plot.draw("t", "w", plot.ratios({"native_hpl_ratio": 0.5, "native_exec_ratio": 1.0}), full=1)
        (_, half), (_, whole) = bars(svg)
        self.assertGreater(whole, plot.WIDTH / 2)
        self.assertAlmostEqual(half, whole / 2, delta=0.06)
        self.assertIn("0.5000", texts(svg))

    def test_nothing_measured(self):
        with self.assertRaises(common.Failure):
            plot.draw("t", "w", [])

    def test_everything_is_within_the_picture(self):
        with tempfile.TemporaryDirectory() as directory:
            for file in plot.write(pathlib.Path(directory)):
                root = xml.etree.ElementTree.parse(file).getroot()
                height = int(root.get("height"))
                for part in [*root.iter(SVG + "rect"), *root.iter(SVG + "text")]:
                    self.assertLessEqual(float(part.get("y", 0)) + float(part.get("height", 0)), height)
                for bar in root.iter(SVG + "rect"):
                    self.assertLessEqual(float(bar.get("x", 0)) + float(bar.get("width")), plot.WIDTH)


class Command(unittest.TestCase):
    def run_it(self, directory):
        return subprocess.run([sys.executable, "-B", str(ROOT / "tools" / "cli.py"), "bench", "--plot", str(directory)],
            capture_output=True, text=True)

    def test_it_writes_both(self):
        with tempfile.TemporaryDirectory() as directory:
            done = self.run_it(pathlib.Path(directory, "new"))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(sorted(p.name for p in pathlib.Path(directory, "new").iterdir()), ["costs.svg", "native.svg"])

    def test_no_directory(self):
        with tempfile.NamedTemporaryFile() as file:
            done = self.run_it(file.name)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
