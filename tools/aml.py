#!/usr/bin/python3
"""Compiles an ACPI table with iasl into a C++ header with its bytes."""

import argparse
import pathlib
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iasl", default="iasl")
    parser.add_argument("--name", required=True, help="name of the array")
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("header", type=pathlib.Path)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        aml = pathlib.Path(directory, "table.aml")
        compiled = subprocess.run(
            [arguments.iasl, "-we", "-p", aml.with_suffix(""), arguments.source],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if compiled.returncode != 0 or not aml.exists():
            sys.stderr.write(compiled.stdout)
            return 1
        data = aml.read_bytes()

    rows = [", ".join(f"0x{byte:02x}" for byte in data[i : i + 16]) for i in range(0, len(data), 16)]
    arguments.header.parent.mkdir(parents=True, exist_ok=True)
    arguments.header.write_text(
        f"// Written by tools/aml.py from {arguments.source.name}.\n"
        "#pragma once\n\n"
        "namespace margay::aml {\n"
        f"inline constexpr unsigned char {arguments.name}[] = {{\n    "
        + ",\n    ".join(rows)
        + "};\n}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
