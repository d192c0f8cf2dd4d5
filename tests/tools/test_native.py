#!/usr/bin/python3
"""The arithmetic of ./margay bench native with two processors."""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import common  # noqa: E402
import native_2cpu  # noqa: E402

OPENMP, PINGPONG = "rounds openmp 30 20 50", "rounds pingpong 700 900"


class Lines(unittest.TestCase):
    def test_rounds(self):
        self.assertEqual(native_2cpu.ticks_of(OPENMP), ("openmp", [30, 20, 50]))
        self.assertEqual(native_2cpu.ticks_of(OPENMP + "\r"), ("openmp", [30, 20, 50]))

    def test_others(self):
        for line in ("", "rounds", "rounds openmp", "rounds openmp 3 x", "rounds openmp -3", "around openmp 3", "clock 5"):
            self.assertIsNone(native_2cpu.ticks_of(line), line)

    def test_the_shortest_round_counts(self):
        self.assertEqual(native_2cpu.results(["", OPENMP, "noise", PINGPONG]), {"openmp": 20, "pingpong": 700})

    def refused(self, *lines):
        with self.assertRaises(common.Failure) as caught:
            native_2cpu.results(list(lines))
        return str(caught.exception)

    def test_a_program_that_says_nothing(self):
        self.assertEqual(self.refused(OPENMP), OPENMP + "\nno rounds of pingpong")
        self.assertEqual(self.refused(), "no rounds of openmp; no rounds of pingpong")

    def test_a_program_that_fails(self):
        # It may have timed its rounds and then found its result wrong.
        said = self.refused("no library\r", "failed: stencil\r", OPENMP, PINGPONG)
        self.assertEqual(said, "no library\nfailed: stencil")


class Pace(unittest.TestCase):
    def test_a_part_of_a_line_is_no_reading(self):
        for output in ("\nclock 12", "\nclock 12\r", "\nclock 1x2\n"):
            self.assertIsNone(re.search(native_2cpu.CLOCK, output, re.MULTILINE), output)
        self.assertEqual(re.search(native_2cpu.CLOCK, "\nclock 123\r\n", re.MULTILINE)[1], "123")

    def test_ticks_a_second(self):
        self.assertEqual(native_2cpu.pace((10.0, 1000), (12.0, 5000)), 2000)

    def test_no_time_or_a_counter_that_stands(self):
        for last in ((10.0, 5000), (12.0, 1000), (12.0, 900)):
            with self.assertRaises(common.Failure):
                native_2cpu.pace((10.0, 1000), last)

    def test_all_alike(self):
        native_2cpu.check_paces([2000e6, 2010e6, 1990e6, 2000e6 * (1 + native_2cpu.MAX_PACE_ERROR * 0.9)])

    def test_one_counter_runs_slower(self):
        # What a counter that is scaled for the guest would do to the ratio is found.
        with self.assertRaises(common.Failure) as caught:
            native_2cpu.check_paces([2000e6, 1800e6, 2000e6, 1800e6, 2000e6, 2000e6])
        self.assertIn("1800 and 2000 ticks", str(caught.exception))


class Linux(unittest.TestCase):
    def test_what_it_says_at_its_end(self):
        end = re.search(native_2cpu.END, "x\nnative: end, 2 processors, clock tsc\r\n")
        self.assertEqual(end.groups(), ("2", "tsc"))

    def test_both_sides_must_be_alike(self):
        native_2cpu.check_linux(2, "tsc")
        for cpus, clock in ((1, "tsc"), (2, "hpet")):
            with self.assertRaises(common.Failure):
                native_2cpu.check_linux(cpus, clock)


class Figure(unittest.TestCase):
    def test_median_and_spread(self):
        # Speeds: a guest that takes twice as long has half of it.
        one = native_2cpu.figure([(10, 20), (10, 10), (9, 10)])
        self.assertEqual((one["min"], one["value"], one["max"]), (0.5, 0.9, 1.0))
        self.assertEqual((one["unit"], one["repeats"]), ("ratio", 3))

    def test_pairs_are_compared_within(self):
        # The host was twice as busy during the second one.
        one = native_2cpu.figure([(10, 10), (20, 20), (10, 10), (20, 20)])
        self.assertEqual((one["min"], one["value"], one["max"]), (1, 1, 1))

    def test_rounded(self):
        self.assertEqual(native_2cpu.figure([(1, 3)])["value"], 0.3333)


class Sides(unittest.TestCase):
    def test_the_machine_itself_has_two_processors_and_real_time(self):
        original = native_2cpu.fetch.kernel
        native_2cpu.fetch.kernel = lambda: pathlib.Path("/kernel")
        try:
            line = native_2cpu._direct(pathlib.Path("/initrd"))
        finally:
            native_2cpu.fetch.kernel = original
        self.assertEqual(line[line.index("-smp") + 1], "2")
        self.assertNotIn("-icount", line)

    def test_the_init_script_says_what_is_looked_for(self):
        for name in ("stencil", "pingpong"):
            self.assertIn(f'|| echo "failed: {name}"', native_2cpu.INIT)
        self.assertEqual(native_2cpu.INIT.splitlines().count("clock"), 2)


if __name__ == "__main__":
    unittest.main()
