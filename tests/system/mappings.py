"""The emulator's own view of the page tables: nothing is both writable and executable, and no user
page shows the kernel image.

Arguments: a regular expression; the node has printed a matching line when the check starts.
"""

import re
import struct
import time

import harness

SAMPLES = 20
KERNEL_HALF = 1 << 63
PAUSE_SECONDS = 0.05
# QEMU's `info tlb`: virtual: physical flags, where X means no-execute.
MAPPING = re.compile(r"^([0-9a-f]{16}): ([0-9a-f]{16}) ([-A-Z]{9})\s*$", re.MULTILINE)


def kernel_ranges(elf):
    """[(start, end)] of physical addresses of the kernel's image.

    Without its boot code, which is linked low and whose pages become free RAM.
    """
    data = elf.read_bytes()
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    ranges = []
    for index in range(count):
        header = offset + index * size
        (kind,) = struct.unpack_from("<I", data, header)
        virtual, physical, _, memory_bytes = struct.unpack_from("<QQQQ", data, header + 16)
        if kind == 1 and memory_bytes and virtual >= KERNEL_HALF:
            ranges.append((physical, physical + memory_bytes))
    return ranges


def check(text, kernel):
    """Checks one `info tlb`; how many user mappings it has."""
    user = 0
    for virtual, physical, flags in MAPPING.findall(text):
        if "W" in flags and "X" not in flags:
            raise harness.TestFailure(f"{virtual} is writable and executable: {flags}")
        if "U" in flags:
            user += 1
            start = int(physical, 16)
            end = start + ((1 << 21) if "P" in flags else (1 << 12))
            for low, high in kernel:
                if start < high and low < end:
                    raise harness.TestFailure(f"user page {virtual} shows the kernel at {physical}")
    return user


def test(node):
    kernel = kernel_ranges(node.options.kernel)
    with node.boot() as machine:
        machine.expect(node.arguments[0])
        seen = user = 0
        # Each sample sees the domain that happens to run.
        for _ in range(SAMPLES):
            machine.monitor("stop")
            for core in range(node.options.cores):
                text = machine.monitor(
                    "human-monitor-command", **{"command-line": "info tlb", "cpu-index": core}
                )
                seen += len(MAPPING.findall(text))
                user += check(text, kernel)
            machine.monitor("cont")
            time.sleep(PAUSE_SECONDS)
        if not seen:
            raise harness.TestFailure("QEMU showed no mapping at all")
        if not user:
            raise harness.TestFailure("no sample saw a user mapping")
