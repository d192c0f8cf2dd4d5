#!/usr/bin/python3
"""Measures what a first `./margay run` costs: setup_cpu_seconds, user and system time of all its processes.

It runs in a copy of the tree without a build, with all packages installed and everything fetched, to the end of
the default guest. Unlike the figures of counted instructions this one depends on the machine, and on what else
runs there: two threads of one core slow each other.
"""

import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

import common
import fetch

# What would answer from an earlier build, or put this one elsewhere.
NOT_PASSED_ON = ("CMAKE_C_COMPILER_LAUNCHER", "CMAKE_CXX_COMPILER_LAUNCHER", "MARGAY_BUILD")


def measure():
    """Seconds of processor time."""
    fetch.everything()
    environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    with tempfile.TemporaryDirectory(prefix="margay-") as directory:
        tree = pathlib.Path(directory, "margay")
        shutil.copytree(common.ROOT, tree, ignore=shutil.ignore_patterns("build", ".git"))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([tree / "margay", "run", "--headless", "--exec", "true"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise common.Failure(f"a first run failed:\n{done.stdout.decode(errors='replace')[-2000:]}")
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def main():
    try:
        print(f"setup_cpu_seconds {measure()}")
    except common.Failure as failure:
        print(f"setup_time.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
