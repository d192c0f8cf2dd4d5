#!/usr/bin/env python3
"""Writes the seed inputs of the fuzz targets. Run it in any directory; equal runs give equal files."""

import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent


def write(target, name, data):
    directory = HERE / target
    directory.mkdir(exist_ok=True)
    (directory / name).write_bytes(data)


def emulator():
    registers = b"".join(
        struct.pack("<BH", 1 if i in (0, 5, 6, 7) else 0, 0x80 + i) for i in range(16)
    )

    def seed(name, mode, code, register=0, access=1):
        head = struct.pack("<BBBBH", mode, register << 1, access, 0, 0x246)
        write("emulator", name, head + registers + bytes.fromhex(code))

    seed("mov_store", 4, "8908")
    seed("mov_load", 4, "488b00")
    seed("mov_immediate", 4, "c70078563412")
    seed("or", 4, "f08108000000ff")
    seed("movzx", 4, "0fb618")
    seed("cmpxchg", 4, "f00fb108")
    seed("xadd", 4, "f00fc108")
    seed("bts", 4, "f00fba2807")
    seed("push", 4, "ff30")
    seed("pop", 4, "8f00")
    seed("setcc", 4, "0f9400")
    seed("cmov", 4, "0f4418")
    seed("rep_movs", 4, "f3a5", register=6)
    seed("rep_stos", 4, "f348ab", register=7)
    seed("cmps", 4, "f3a6", register=6)
    seed("outs", 4, "f36e", access=0x81)
    seed("ins", 4, "f36d", access=0xC4)
    seed("user", 0x84, "8908")
    seed("pae", 3, "8b08")
    seed("legacy", 2, "a380000100")
    seed("protected", 1, "8908")
    seed("real", 0, "8807", register=7)


def loader():
    def image(relocatable=1, version=0x20F, preferred=0x100000, alignment=0x200000):
        kernel = bytearray(0xA00)
        struct.pack_into("<B", kernel, 0x1F1, 1)
        struct.pack_into("<I", kernel, 0x1F4, (0xA00 - 0x400) // 16)
        struct.pack_into("<H", kernel, 0x1FE, 0xAA55)
        kernel[0x200:0x202] = b"\xeb\x6a"
        kernel[0x202:0x206] = b"HdrS"
        struct.pack_into("<H", kernel, 0x206, version)
        struct.pack_into("<B", kernel, 0x211, 1)
        struct.pack_into("<I", kernel, 0x22C, 0x7FFFFFFF)
        struct.pack_into("<I", kernel, 0x230, alignment)
        struct.pack_into("<B", kernel, 0x234, relocatable)
        struct.pack_into("<H", kernel, 0x236, 3)
        struct.pack_into("<I", kernel, 0x238, 2047)
        struct.pack_into("<Q", kernel, 0x258, preferred)
        struct.pack_into("<I", kernel, 0x260, 0x100000)
        return bytes(kernel)

    def seed(name, kernel, initrd=b"", command_line=b"console=ttyS0", mib=32):
        head = struct.pack("<BHB", mib, len(initrd), len(command_line))
        write("loader", name, head + command_line + initrd + kernel)

    seed("plain", image())
    seed("initrd", image(), b"070701" + bytes(250))
    seed("fixed", image(relocatable=0, preferred=0x1000000))
    seed("old", image(version=0x205))
    seed("oldest", image(version=0x200))

    def multiboot(flags, *addresses):
        return struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF) + struct.pack("<5I", *addresses)

    code = bytes(range(256))
    base = 0x100000
    seed("multiboot", multiboot(0x10003, base, base, base + 288, base + 0x800, base + 32) + code, b"module")
    seed("multiboot_whole", multiboot(0x10000, base, base, 0, 0, base + 32) + code)

    def elf(bits, behind=b""):
        """A segment with everything at 1 MiB and a PVH note for its beginning."""
        note = struct.pack("<III4sI", 4, 4, 18, b"Xen", base)
        wide = bits == 64
        size, entry = (64, 56) if wide else (52, 32)
        at = size + 2 * entry
        end = at + len(note) + len(behind)
        head = b"\x7fELF" + bytes([2 if wide else 1, 1]) + bytes(10)
        words = "QQQ" if wide else "III"
        head += struct.pack(f"<HHI{words}IHHHHHH", 2, 62 if wide else 3, 1, base, size, 0, 0, size, entry, 2, 0, 0, 0)
        if wide:
            table = struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, end, end + 64, 8)
            table += struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, len(note), len(note), 4)
        else:
            table = struct.pack("<8I", 1, 0, base, base, end, end + 64, 7, 8)
            table += struct.pack("<8I", 4, at, 0, 0, len(note), len(note), 4, 4)
        return head + table + note + behind

    seed("pvh_64", elf(64), b"module")
    seed("pvh_32", elf(32))
    seed("multiboot_elf_64", elf(64, multiboot(3, 0, 0, 0, 0, 0)))
    seed("multiboot_elf_32", elf(32, multiboot(3, 0, 0, 0, 0, 0)))
    seed("little_ram", image(), mib=1)
    seed("short", image()[:0x260])


def devices():
    def out(port, value, width=1):
        return struct.pack("<BHI", 1 | {1: 0, 2: 0x40, 4: 0x80}[width], port, value)

    def read(port):
        return struct.pack("<BH", 0, port)

    def mmio(base, offset, value):
        return struct.pack("<BHQ", 3 | 0x80 | (0x20 if base == "lapic" else 0), offset, value)

    step = struct.pack("<BI", 7, 1_000_000)
    inject = b"\x1a"
    pic = b"".join(
        out(port, value)
        for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0xA0, 0x11),
                            (0xA1, 0x28), (0xA1, 2), (0xA1, 1), (0x21, 0), (0xA1, 0))
    )
    timer = out(0x43, 0x34) + out(0x40, 0x9C) + out(0x40, 0x2E)
    write("devices", "pic_pit", b"\0" + pic + timer + (step + inject + out(0x20, 0x20)) * 8)
    uart = out(0x3FB, 0x83) + out(0x3F8, 1) + out(0x3FB, 3) + out(0x3FA, 7) + out(0x3F9, 3)
    write("devices", "uart", b"\0" + uart + out(0x3F8, 0x41) + b"\x0c\x42" + read(0x3F8) + read(0x3FA))
    apic = mmio("lapic", 0xF0, 0x1FF) + mmio("lapic", 0x320, 0x20030) + mmio("lapic", 0x3E0, 0xB)
    apic += mmio("lapic", 0x380, 10000)
    write("devices", "apic_timer", b"\0" + apic + (step + inject + mmio("lapic", 0xB0, 0)) * 6)
    redirection = mmio("ioapic", 0, 0x14) + mmio("ioapic", 0x10, 0x8034)
    write("devices", "io_apic", b"\0" + apic + redirection + b"\x2d\x01" + inject + b"\x2d\0")
    x2apic = struct.pack("<BBQ", 6, 0x0F, 0x1FF) + struct.pack("<BBQ", 6, 0x3F, 0x41)
    write("devices", "x2apic", b"\4" + x2apic + inject + struct.pack("<BBQ", 6, 0x0B, 0))
    rtc = out(0x70, 0x0B) + out(0x71, 0x72) + out(0x70, 0x0C) + read(0x71)
    write("devices", "rtc", b"\0" + pic + rtc + step * 4 + inject + rtc)
    power = out(0x600, 1, 2) + out(0x602, 1, 2) + b"\x0e" + read(0x600) + read(0x608) + read(0x604)
    write("devices", "power", b"\0" + power + step + out(0xCF8, 0x80000000, 4) + read(0xCFC))
    msrs = b"".join(
        struct.pack("<BIQ", 5, index, value)
        for index, value in ((0x1B, 0xFEE00D00), (0x10, 5), (0x3B, 7), (0x277, 0x0007040600070406),
                             (0x6E0, 100000), (0x4B564D00, 0x1000), (0x4B564D01, 0x2001),
                             (0x4B564D04, 0x3001))
    )
    write("devices", "msrs", b"\0" + msrs + step + inject)


def multiboot2():
    def tag(kind, body):
        data = struct.pack("<II", kind, 8 + len(body)) + body
        return data + bytes(-len(data) % 8)

    def info(*tags):
        body = b"".join(tags) + tag(0, b"")
        return struct.pack("<II", 8 + len(body), 0) + body

    memory = struct.pack("<II", 24, 0)
    for base, length, kind in ((0, 0x9FC00, 1), (0x100000, 0x1FF00000, 1), (0x20000000, 4096, 3)):
        memory += struct.pack("<QQII", base, length, kind, 0)
    module = struct.pack("<II", 0x400000, 0x412345) + b"init\0"
    rsdp = b"RSD PTR " + bytes(28)
    write("multiboot2", "grub", info(tag(1, b"verbose\0"), tag(3, module), tag(6, memory),
                                     tag(14, rsdp[:20])))
    write("multiboot2", "acpi2", info(tag(6, memory), tag(14, rsdp[:20]), tag(15, rsdp)))
    write("multiboot2", "bad_size", info(tag(6, memory[:-8]))[:-4])
    # The size of a memory map entry must not take a 32-bit offset around.
    wraps = struct.pack("<II", 0xFFFFFFF8, 0) + memory[8:]
    write("multiboot2", "entry_size_wraps", info(tag(6, wraps)))
    write("multiboot2", "modules", info(*([tag(3, module)] * 34), tag(6, memory)))


def firmware():
    def entry(shape, base, length):
        return struct.pack("<BHH", shape, base, length)

    def memory_map(name, *entries):
        write("firmware", name, bytes([1, len(entries)]) + b"".join(entries))

    memory_map("plain", entry(1, 0, 0x13F), entry(2, 0x9F, 2), entry(1, 0x400, 0xF000), entry(3, 0x7C00, 64))
    memory_map("overlaps", entry(3, 0x101, 8), entry(1, 0x80, 0x800), entry(4, 0x103, 3), entry(2, 0x90, 1))
    memory_map("ends", entry(0x11, 4, 0x100), entry(0x32, 0x1000, 0), entry(0x21, 0x400, 0), entry(1, 8, 0))

    def table(signature, body):
        data = struct.pack("<4sIBB28x", signature, 36 + len(body), 1, 0) + body
        return data[:9] + bytes([-sum(data) & 0xFF]) + data[10:]

    def tables(name, *made, extended):
        at, addresses, rest = 0x8000 + 36 + (8 if extended else 4) * len(made), [], b""
        for t in made:
            addresses.append(at + len(rest))
            rest += t
        form = "Q" if extended else "I"
        root = table(b"XSDT" if extended else b"RSDT", struct.pack(f"<{len(made)}{form}", *addresses))
        write("firmware", name, bytes([0, 2 if extended else 0, 0, 0]) + root + rest)

    madt = struct.pack("<II", 0xFEE00000, 1)
    madt += struct.pack("<BBBBI", 0, 8, 0, 0, 1) + struct.pack("<BBBBI", 0, 8, 1, 4, 1)
    madt += struct.pack("<BBHIII", 9, 16, 0, 300, 1, 2) + struct.pack("<BBBBII", 1, 12, 0, 0, 0xFEC00000, 0)
    madt += struct.pack("<BBBBIH", 2, 10, 0, 0, 2, 0xD)
    srat = bytes(12) + struct.pack("<BBBBIB3BI", 0, 16, 1, 4, 1, 0, 0, 0, 0, 0)
    srat += struct.pack("<BBIHQQIIQ", 1, 40, 1, 0, 0x100000, 0x8000000, 0, 1, 0)
    srat += struct.pack("<BBHIIIII", 2, 24, 0, 1, 300, 1, 0, 0)
    fadt = bytes(40) + struct.pack("<I", 0x608) + bytes(36)
    tables("xsdt", table(b"FACP", fadt), table(b"APIC", madt), table(b"SRAT", srat), extended=True)
    tables("rsdt", table(b"SRAT", srat), table(b"APIC", madt), extended=False)
    tables("broken", table(b"APIC", madt)[:-3], extended=False)

    def scope(kind, start_bus, *hops, number=0):
        path = b"".join(struct.pack("<BB", *hop) for hop in hops)
        return struct.pack("<BBHBB", kind, 6 + len(path), 0, number, start_bus) + path

    def structure(kind, body):
        return struct.pack("<HH", kind, 4 + len(body)) + body

    def unit(registers, *scopes, others=0):
        return structure(0, struct.pack("<BBHQ", others, 0, 0, registers) + b"".join(scopes))

    def reserved(first, last, *scopes):
        return structure(1, struct.pack("<HHQQ", 0, 0, first, last) + b"".join(scopes))

    endpoint, bridge, io_apic, hpet = 1, 2, 3, 4
    emulated = unit(0xFED90000, scope(io_apic, 0xFF, (0, 0)), scope(endpoint, 0, (2, 0)), scope(bridge, 0, (3, 0)))
    server = structure(3, bytes(16)) + unit(0xFED91000, scope(bridge, 0x17, (0, 0)), scope(io_apic, 0x17, (5, 4), number=9))
    server += unit(0xFED92000, scope(endpoint, 0x17, (0, 0), (0, 0), (4, 1)), scope(bridge, 0x17, (0, 0), (0, 0)))
    server += unit(0xFED93000, scope(io_apic, 0xF0, (31, 0), number=8), scope(hpet, 0xF0, (30, 0)), others=1)
    server += reserved(0x7D000000, 0x7D7FFFFF, scope(endpoint, 0, (20, 0)), scope(bridge, 0, (28, 0)))
    dmar = struct.pack("<BB10x", 38, 1) + emulated
    tables("dmar", table(b"DMAR", dmar), table(b"APIC", madt), extended=True)

    def function(bus, device, secondary=0, subordinate=0, port=4, header=1):
        return struct.pack("<6B", bus, device << 3, header, port, secondary, subordinate)

    def buses(name, structures, *functions):
        write("firmware", name, bytes([2, len(functions)]) + b"".join(functions) + structures)

    upstream, downstream, to_pci = 5, 6, 7
    below = (function(0x17, 0, 0x18, 0x1B), function(0x18, 0, 0x19, 0x1B, upstream), function(0x19, 0, 0x1A, 0x1A, downstream))
    buses("buses", emulated, function(0, 2, header=0), function(0, 3, 1, 1), function(0, 4, 2, 3), function(2, 0, 3, 3, to_pci))
    buses("buses_server", server, function(0, 28, 1, 2), function(1, 0, 2, 2, to_pci), *below)
    buses("buses_lie", server, function(0, 1, 1, 2), function(1, 0, 2, 2, upstream), function(2, 0, 1, 2, downstream),
          function(0, 2, 2, 9), function(0, 3, 12, 11), function(0, 4, 20, 255, 0x24), function(20, 0, 255, 255, 0x14))
    buses("unit_left_out", unit(0xFED93000, others=1) + unit(0x10, scope(bridge, 0, (1, 0))), function(0, 1, 1, 2))


def elf():
    def image(segments, entry=0x400000):
        data = b"\x7fELF\2\1\1" + bytes(9)
        data += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
        for segment in segments:
            data += struct.pack("<IIQQQQQQ", *segment)
        return data + bytes(64)

    text = (1, 5, 0, 0x400000, 0x400000, 64, 64, 4096)
    write("elf", "one", image([text]))
    write("elf", "two", image([text, (1, 6, 0, 0x401000, 0x401000, 16, 0x2000, 4096)]))
    write("elf", "writable_code", image([(1, 7, 0, 0x400000, 0x400000, 64, 64, 4096)]))
    write("elf", "outside", image([(1, 5, 0, 0x400000, 0x400000, 0x1000, 0x1000, 4096)]))


def node_console():
    def seed(name, text, vm=b"two\0\0\0\0\0"):
        write("node_console", name, vm + text)

    seed("list", b"list\r")
    seed("editing", b"dominfp\x7fo linux\r\x1b[A\r\x15\x03help vmm-swap\r\n")
    seed("swap", b"vmm-swap two vmm-old\rmodules\rhelp\r", b"two\xc3\xa9\x1b\xff\0")
    seed("request_list", b'{"id": 1, "command": "list"}\n')
    seed("request_swap", b'{"command": "vmm-swap", "vm": "1", "module": "vmm", "id": "\\u00e9"}\n')
    seed("request_help", b'{"id": -1, "command": "help", "topic": "save"}\n{"command": "modules"}\n')
    seed("bad_requests", b'{"id": 1}\n[{"a": [1, null, 2.5]}]\n{"vm": {"vm": "two"}}\n{]\n')
    seed("long", b'{"id": "' + b"i" * 1100 + b'", "command": "list"}\n{"command": "list"}\n')
    seed("deep", b"[" * 1000 + b"\n" + b'{"a":' * 200 + b"\n")


def region():
    half, content = 128, 128 + 16 + 48 * 40

    def patch(offset, data):
        return struct.pack("<HB", offset, len(data)) + data

    def entry(index, offset, value):
        return patch(half + 16 + 48 * index + offset, struct.pack("<I", value))

    write("region", "good", bytes([0]))
    write("region", "blank", bytes([0]) + patch(0, bytes(8)))
    write("region", "format", bytes([0]) + patch(8, b"\2"))
    write("region", "too_new", bytes([0]) + entry(3, 20, 9))
    write("region", "renamed", bytes([1]) + patch(half + 16 + 48 * 4, b"other") + entry(4, 24, 0))
    write("region", "renamed_field", bytes([1]) + patch(content, b"other"))
    write("region", "far_slot", bytes([1]) + entry(2, 28, 0xFFFFFFF8))
    write("region", "shorter", bytes([1]) + patch(half, b"\5"))
    write("region", "guest_word", bytes([7]) + patch(16, struct.pack("<QQQ", 7, 0x10, 0x55)))


def shared_memory():
    def scribble(channel, where, value):
        return struct.pack("<BBI", channel << 3, where, value)

    def steps(*codes):
        return bytes(codes)

    put, drain, move, copy = 2, 5, 6, 7
    write("shared_memory", "in_order", steps(put, put | 8, put | 16, drain, move, copy))
    write("shared_memory", "runaway", scribble(0, 2, 0x80000000) + scribble(2, 2, 0x80000000) + steps(drain, move))
    write("shared_memory", "full", scribble(1, 2, 16384) + steps(drain, put | 8, drain))
    write("shared_memory", "typed", scribble(1, 1, 17) + steps(3, 3, 4 | 8, copy))


def transfer():
    def put(content, name, replaces=0):
        return bytes([replaces | content << 3 | name << 5])

    def right(transfer, content, offset, length):
        return struct.pack("<BBHB", 6 | content << 3, transfer, offset, length)

    remove, wait, use = 3, 4, 5
    write("transfer", "whole", put(1, 0) + right(1, 1, 0, 5) + right(1, 1, 5, 200) + bytes([remove]))
    write("transfer", "again", put(2, 0) + right(1, 2, 0, 100) + put(2, 0) + right(1, 2, 50, 250))
    write("transfer", "replaced", put(0, 2, 1) + right(1, 0, 0, 1) + put(1, 2, 1) + bytes([use | 2 << 5]) + right(2, 1, 0, 50))
    write("transfer", "gone", put(3, 1) + right(1, 3, 0, 2) + bytes([wait]) + struct.pack("<I", 120000))
    write("transfer", "wrong", put(3, 1) + struct.pack("<BBQB", 7, 1, 3, 4) + b"wrong")


def saved():
    def record(kind, page, pages, payload=b""):
        return struct.pack("<cBHIII", kind, 0, len(payload), page, pages, 0) + payload

    header = record(b"H", 0, 0, struct.pack("<8sIIQQQQ", b"MargayVM", 1, 3, 7, 8, 1000, 5 * 4096))
    definition = record(b"V", 0, 0, b'{"name":"x"}')
    pages = record(b"Z", 0, 3) + record(b"R", 3, 2, b"12345678") + record(b"S", 5, 1, struct.pack("<I", 4))
    data = record(b"D", 6, 1, b"\x00A" + b"\xff\x01\x00" * 10)
    end = record(b"E", 8, 0, b"\0\0\0\0")
    write("saved", "pages", b"\1\x40" + header + definition + pages + data + end)
    write("saved", "again", b"\1\x04" + header + header + pages)
    write("saved", "gap", b"\1\xff" + header + record(b"Z", 1, 3))
    write("saved", "raw", b"\0\xff" + header + definition)


def configuration(size, table=0, pending=0x40, entries=4):
    space = bytearray(size)
    struct.pack_into("<HHHH", space, 0, 0x1B36, 0x0010, 0, 0x10)
    space[0x34] = 0x40
    struct.pack_into("<BBHII", space, 0x40, 0x11, 0x60, entries - 1, table, pending)
    struct.pack_into("<BB", space, 0x60, 0x01, 0x80)
    struct.pack_into("<BBHI", space, 0x80, 0x10, 0, 0x92, 1 << 28)
    return bytes(space)


def pass_through():
    shape = bytes([4 | 16 | 2 << 5])
    functions = 2 * (shape + configuration(160, pending=0x40))

    def config(reg, value, width=2):
        return struct.pack("<BHI", 1, width << 8 | reg, value)

    def step(kind, place, value=b""):
        return struct.pack("<BH", kind, place) + value

    on = config(0x10, 0xC0000000) + config(0x04, 6)
    settle = step(7, 0) + step(15, 0) + step(7, 0)
    message = step(5, 0, struct.pack("<Q", 0xFEE00000)) + step(5, 8, struct.pack("<Q", 0x41)) + config(0x40, 0x80000000)
    write("pass_through", "mapped", functions + on + settle + step(3, 0x1010) + config(0x10, 0xD0000000) + step(3, 0x1010))
    write("pass_through", "message", functions + on + settle + step(6, 0) + message + step(6, 0) + step(4, 0x40))
    write("pass_through", "reset", functions + on + settle + step(3, 0x1010) + config(0x88, 0x8000) + settle + step(0, 0x10))
    by_msi = bytearray(configuration(160, pending=0x40))
    by_msi[0x81] = 0x90
    struct.pack_into("<BBH", by_msi, 0x90, 0x05, 0, 0x0184)
    msi = config(0x94, 0xFEE00000) + config(0x9C, 0x41) + config(0x90, 0x210000) + config(0xA0, 2)
    write("pass_through", "by_msi", 2 * (shape + bytes(by_msi)) + on + msi + settle + step(6, 0) + step(6, 1) + config(0xA0, 0) + step(0, 0xA4))
    write("pass_through", "by_line", functions + on + settle + step(6, 49) + step(14, 1) + step(6, 49) + config(0x04, 0x0406) + settle + step(14, 1))
    write("pass_through", "ports", functions + config(0x24, 0x6000) + config(0x04, 7) + step(4, 4) + step(5, 31, bytes(8)))
    write("pass_through", "above_ram", functions + on + config(0x14, 1) + step(0x43, 0x1010) + step(0x44, 0))
    write("pass_through", "asleep", functions + on + step(3, 0x1010) + config(0x64, 3) + step(3, 0x1010) + config(0x64, 0))


def pci_config():
    # The last bytes say which bits of the BARs can be written.
    def function(place, header=0, kind=2, **keys):
        space = bytearray(configuration(192, **keys))
        space[0x10:0x18] = struct.pack("<II", 0xFE000004, 0)
        space[168:192] = bytes(16) + bytes([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xC0, 0])
        return bytes([place, header, kind]) + bytes(space)

    write("pci_config", "one", b"\1" + function(2, table=0x2000, pending=0x3000))
    write("pci_config", "no_table", b"\0" + function(2, table=0x3FF8, pending=0x3000))
    bridge = bytearray(configuration(192))
    bridge[0x18:0x1B] = bytes([0, 1, 1])
    write("pci_config", "behind_a_bridge", b"\3" + bytes([2, 1, 6]) + bytes(bridge) + function(4))
    write("pci_config", "access_control", b"\3" + bytes([2, 1, 6]) + bytes(bridge) + function(4) + struct.pack("<II", 0x0001000D, 0x1D001D))


for make in (emulator, loader, devices, multiboot2, firmware, elf, node_console, region, shared_memory, transfer, saved, pass_through, pci_config):
    make()
