#!/usr/bin/python3
"""Configures and builds one preset: build.py [--quiet] [PRESET [TARGET …]]."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRESETS = ("release", "debug", "clang", "fuzz")


def directory(preset):
    return ROOT / "build" / preset


def configure(preset):
    """Runs CMake; 0 when that worked, else it has said why."""
    configured = subprocess.run(
        ["cmake", "--preset", preset, "-Wno-dev"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if configured.returncode != 0:
        sys.stderr.write(configured.stdout)
    return configured.returncode


def build(preset="release", targets=(), quiet=False):
    """Brings the preset's build up to date; 0 when that worked.

    Ninja shows the progress: on a terminal as one line, elsewhere as one line per step. `quiet`
    shows nothing but what goes wrong.
    """
    tree = directory(preset)
    if not (tree / "build.ninja").exists():
        status = configure(preset)
        if status != 0:
            return status
    environment = dict(os.environ)
    environment.setdefault("NINJA_STATUS", "[%f/%t] ")
    command = ["ninja", *targets]
    if not quiet:
        return subprocess.run(command, cwd=tree, env=environment).returncode
    built = subprocess.run(
        [*command, "--quiet"],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if built.returncode != 0:
        sys.stderr.write(built.stdout)
    return built.returncode


def main(arguments):
    quiet = "--quiet" in arguments
    rest = [a for a in arguments if a != "--quiet"]
    preset = rest[0] if rest else "release"
    if preset not in PRESETS:
        print(f"build.py: no preset named {preset}; there are {', '.join(PRESETS)}", file=sys.stderr)
        return 2
    return 1 if build(preset, rest[1:], quiet) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
