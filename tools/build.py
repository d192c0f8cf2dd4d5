#!/usr/bin/python3
"""Configures and builds one preset: build.py [--build-dir DIRECTORY] [PRESET [TARGET …]]."""

import os
import re
import shutil
import subprocess
import sys

import common

PRESETS = ("release", "debug", "clang", "fuzz")
STATUS = re.compile(r"^\[(\d+)/(\d+)\] (.*)")
# What the build files are made from is looked at before each build; that is no step of it.
NOT_SHOWN = ("Re-checking globbed directories", "Re-running CMake")


def directory(preset):
    return common.build_root() / preset


def _cached(tree, *names):
    """Values of CMake's cache, None for what is not there."""
    try:
        text = (tree / "CMakeCache.txt").read_text()
    except OSError:
        return [None] * len(names)
    found = (re.search(rf"^{name}:\w+=(.*)$", text, re.MULTILINE) for name in names)
    return [match and match[1] for match in found]


def _is_of_another_place(tree):
    """Whether the tree or its sources were moved or copied since it was configured."""
    project, source, binary = _cached(tree, "CMAKE_PROJECT_NAME", "CMAKE_HOME_DIRECTORY", "CMAKE_CACHEFILE_DIR")
    if project not in (None, "margay"):
        raise common.Failure(f"{tree} is a build of {project}: say another --build-dir")
    return source is not None and (
        os.path.realpath(source) != os.path.realpath(common.ROOT)
        or os.path.realpath(binary) != os.path.realpath(tree)
    )


def _environment():
    """For CMake, which would look for the cache by rules of its own."""
    return dict(os.environ, MARGAY_CACHE=str(common.cache()), NINJA_STATUS="[%f/%t] ")


def configure(preset, tests=True):
    """Runs CMake; 0 when that worked, else it has said why."""
    tree = directory(preset)
    common.build_directory()
    line = ["cmake", "--preset", preset, "-B", str(tree), "-Wno-dev", f"-DMARGAY_TESTS={'ON' if tests else 'OFF'}"]
    if _is_of_another_place(tree):
        # What is there was made from other files.
        shutil.rmtree(tree)
    configured = subprocess.run(
        line,
        cwd=common.ROOT,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if configured.returncode != 0:
        sys.stderr.write(configured.stdout)
    return configured.returncode


def prepare(preset="release", tests=True):
    """Configures the preset's build if that has to be done; 0 when it is ready.

    tests: whether the build must have them; they need more packages than the node does.
    """
    tree = directory(preset)
    is_there = (tree / "build.ninja").exists()
    if is_there and not _is_of_another_place(tree):
        if not tests or _cached(tree, "MARGAY_TESTS") != ["OFF"]:
            return 0
    return configure(preset, tests)


def build(preset="release", targets=(), quiet=False, tests=True):
    """Brings the preset's build up to date; 0 when that worked, else it has shown what the tools said.

    Says how far it is while that takes time; `quiet`: says nothing but what goes wrong.
    """
    status = prepare(preset, tests)
    if status != 0:
        return status
    ninja = subprocess.Popen(
        ["ninja", *targets],
        cwd=directory(preset),
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    said = []
    try:
        with common.Step("building" if not quiet else None) as step:
            for line in ninja.stdout:
                found = STATUS.match(line)
                if not found:
                    said.append(line)
                elif not found[3].startswith(NOT_SHOWN):
                    step.at(f"[{found[1]}/{found[2]}] {os.path.basename(found[3])}")
            status = ninja.wait()
    finally:
        if ninja.poll() is None:
            ninja.terminate()
            ninja.wait()
    if status != 0:
        sys.stderr.writelines(line for line in said if not line.startswith("ninja: Entering directory"))
    elif not quiet:
        # What compilers say without failing is for the user as well.
        sys.stderr.writelines(line for line in said if not line.startswith(("ninja: ", "-- ")))
    return status


def main(arguments):
    if arguments[:1] == ["--build-dir"] and len(arguments) > 1:
        os.environ["MARGAY_BUILD"] = arguments[1]
        arguments = arguments[2:]
    preset = arguments[0] if arguments else "release"
    if preset not in PRESETS:
        print(f"build.py: no preset named {preset}; there are {', '.join(PRESETS)}", file=sys.stderr)
        return 2
    try:
        return 1 if build(preset, arguments[1:], quiet=True) else 0
    except common.Failure as failure:
        print(f"build.py: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
