"""What a dynamically linked program needs at run time, out of unpacked packages: for initial RAM disks."""

import pathlib
import re
import subprocess

MACHINE = "x86_64-linux-gnu"
LINKER = pathlib.PurePosixPath("lib64/ld-linux-x86-64.so.2")
# Where the dynamic linker looks by itself.
USUAL = ("usr/lib/" + MACHINE, "lib/" + MACHINE, "lib64")


def _needed(file):
    """The shared libraries that an ELF file asks for."""
    shown = subprocess.run(["readelf", "-d", file], capture_output=True, text=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", shown)


def closure(root, programs, first=()):
    """Programs of the directory with the packages, the dynamic linker and all libraries that they ask for:
    {path in the guest: content}. first: directories in which libraries are looked for before the usual ones."""
    directories = [root / name for name in (*first, *USUAL)]
    found = {}

    def add(file):
        name = str(file.relative_to(root))
        if name in found:
            return
        found[name] = file.read_bytes()
        for library in _needed(file):
            for directory in directories:
                if (directory / library).exists():
                    add(directory / library)
                    break

    for program in (*programs, LINKER):
        add(root / program)
    return found
