#!/usr/bin/python3
"""Builds kernel and servers a second time, from a copy in another directory: the bits must be the same.

    reproducible_build.py BUILD_DIRECTORY COMPILER
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = ("ukernel", "init", "pmem", "console", "pci", "vmm")


def main():
    first, compiler = pathlib.Path(sys.argv[1]), sys.argv[2]
    images = [name for name in IMAGES if (first / "elf" / f"{name}.elf").exists()]
    with tempfile.TemporaryDirectory() as directory:
        source, second = pathlib.Path(directory, "a", "copy"), pathlib.Path(directory, "build")
        shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns("build", ".git"))
        line = ["cmake", "-G", "Ninja", "-S", source, "-B", second, "-DCMAKE_BUILD_TYPE=Release"]
        line += [f"-DCMAKE_CXX_COMPILER={compiler}", "-Wno-dev", "-DMARGAY_TESTS=OFF"]
        line += [f"-DCMAKE_C_COMPILER={compiler.replace('clang++', 'clang').replace('g++', 'gcc')}"]
        for command in (line, ["ninja", "-C", second, *images]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                print(done.stdout)
                return 1
        differ = 0
        for name in images:
            one, other = (tree / "elf" / f"{name}.elf" for tree in (first, second))
            same = one.read_bytes() == other.read_bytes()
            print(f"{name}: {'same' if same else 'DIFFERENT'}")
            differ += not same
    return 1 if differ or not images else 0


if __name__ == "__main__":
    sys.exit(main())
