#!/usr/bin/python3
"""Symbol tables that kernel and programs carry for their own backtraces.

    symbols.py table IMAGE OUTPUT.S      the table of IMAGE's functions, as assembler
    symbols.py compare FIRST SECOND      fails unless both images have the same text symbols

The table, in section .margay_symbols at symbol margay_symbols_begin, little endian:

    u32 magic 'MSYM'   u32 count   u64 base
    count times, by rising offset:  u32 offset of the function from base
                                    u32 offset of its name from margay_symbols_begin
    the names, each ended by a zero byte
"""

import re
import subprocess
import sys

MAGIC = 0x4D59534D
ALIGNMENT = 256  # symbols_alignment of proto/symbols.hpp
HEADER_BYTES = 16
ENTRY_BYTES = 8
REACH = 1 << 32  # offsets are 32 bits wide


def text_symbols(image):
    """[(address, size, mangled name)] of everything in executable sections, by address."""
    output = subprocess.run(
        ["nm", "--format=posix", "--defined-only", image], check=True, capture_output=True, text=True
    ).stdout
    found = []
    for line in output.splitlines():
        name, kind, address, *size = line.split()
        # Link-time optimisation leaves weak symbols without a size in debugging sections.
        if kind in "tT" or (kind in "wW" and size and int(size[0], 16)):
            found.append((int(address, 16), int(size[0], 16) if size else 0, name))
    return sorted(found)


def demangle(names):
    output = subprocess.run(
        ["c++filt", "--no-params"], input="\n".join(names), check=True, capture_output=True, text=True
    ).stdout
    # LTO marks clones and renamed statics; the function's own name says more.
    return [
        re.sub(r"( \[clone [^]]*\])+$|\.(lto_priv|constprop|isra|part|cold)\.?\d*", "", name)
        for name in output.splitlines()
    ]


def functions(image):
    """[(address, readable name)], one per address, within reach of the lowest."""
    by_address = {}
    for address, size, name in text_symbols(image):
        # A label without size at a function's start is a linker script's mark.
        if size or address not in by_address:
            by_address[address] = name
    if not by_address:
        return []
    # A kernel's boot code runs at low addresses, out of reach of the rest; leave it out.
    highest = max(by_address)
    addresses = sorted(a for a in by_address if highest - a < REACH)
    return list(zip(addresses, demangle([by_address[a] for a in addresses])))


def table(image, output):
    entries = functions(image)
    base = entries[0][0] if entries else 0
    names_at = HEADER_BYTES + ENTRY_BYTES * len(entries)
    offsets = {}
    names = []
    lines = []
    for address, name in entries:
        if name not in offsets:
            offsets[name] = names_at
            names_at += len(name.encode()) + 1
            names.append(name)
        lines.append(f"        .long   {address - base:#x}, {offsets[name]:#x}")
    quoted = [n.replace("\\", "\\\\").replace('"', '\\"') for n in names]
    text = [
        f"/* Written by tools/symbols.py. */",
        '        .section .margay_symbols, "a", @progbits',
        f"        .balign {ALIGNMENT}",
        "        .globl  margay_symbols_begin",
        "margay_symbols_begin:",
        f"        .long   {MAGIC:#x}, {len(entries)}",
        f"        .quad   {base:#x}",
        *lines,
        *[f'        .asciz  "{name}"' for name in quoted],
        '        .section .note.GNU-stack, "", @progbits',
        "",
    ]
    with open(output, "w", encoding="utf-8") as file:
        file.write("\n".join(text))


def compare(first, second):
    before, after = text_symbols(first), text_symbols(second)
    if before == after:
        return 0
    print(f"error: text moved between the two links of {second};", file=sys.stderr)
    print("is .margay_symbols behind all text in the linker script?", file=sys.stderr)
    for address, _, name in sorted(set(before) ^ set(after))[:8]:
        print(f"  {address:#x} {name}", file=sys.stderr)
    return 1


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "table":
        table(*arguments[1:])
        return 0
    if len(arguments) == 3 and arguments[0] == "compare":
        return compare(*arguments[1:])
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
