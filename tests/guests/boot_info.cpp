// What a guest that is entered in protected mode was given: says by which protocol, the command line, its memory and
// its module, and checks what all protocols promise.
#include <cstring>

#include "tests/guests/check.hpp"

using namespace margay::guest;

namespace {

struct EntryRegisters {
    std::uint32_t eax, ebx, esi, cr0, eflags;
};

template <typename T = std::uint32_t>
T at(std::uint64_t address) {
    T value;
    std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof(value));
    return value;
}

struct Given {
    const char* protocol;
    std::uint64_t command_line, module, module_size;
    std::uint64_t map, map_end, range_size, range_offset;  // the base is at the offset
    std::uint64_t rsdp;
};

Given by_multiboot(std::uint64_t info) {
    check("the information's flags", (at(info) & 0x24d) == 0x24d);
    check("the sizes of memory", at(info + 4) == 639 && at(info + 8) == 7 * 1024);
    check("the loader's name", std::string_view{reinterpret_cast<const char*>(
                                   std::uint64_t{at(info + 64)})} == "Margay");
    check("one module", at(info + 20) == 1);
    const std::uint64_t module = at(info + 24), map = at(info + 48);
    return {"Multiboot",
            at(info + 16),
            at(module),
            at(module + 4) - at(module),
            map,
            map + at(info + 44),
            24,
            4,
            0};
}

Given by_pvh(std::uint64_t info) {
    check("the information's version", at(info + 4) == 1 && at(info + 8) == 0);
    check("one module", at(info + 12) == 1);
    const auto module = at<std::uint64_t>(info + 16), map = at<std::uint64_t>(info + 40);
    return {"PVH",
            at<std::uint64_t>(info + 24),
            at<std::uint64_t>(module),
            at<std::uint64_t>(module + 8),
            map,
            map + 24 * at(info + 48),
            24,
            0,
            at<std::uint64_t>(info + 32)};
}

Given by_linux(std::uint64_t parameters) {
    check("the parameters have the header", at(parameters + 0x202) == 0x53726448);
    check("the size of memory", at(parameters + 0x1e0) == 7 * 1024);
    const std::uint64_t map = parameters + 0x2d0;
    return {"32-bit Linux",
            at(parameters + 0x228),
            at(parameters + 0x218),
            at(parameters + 0x21c),
            map,
            map + 20 * at<std::uint8_t>(parameters + 0x1e8),
            20,
            0,
            at<std::uint64_t>(parameters + 0x70)};
}

}  // namespace

void guest_main(void* registers) {
    const EntryRegisters& r = *static_cast<EntryRegisters*>(registers);
    const Given given = r.eax == 0x2badb002                     ? by_multiboot(r.ebx)
                        : r.ebx != 0 && at(r.ebx) == 0x336ec578 ? by_pvh(r.ebx)
                                                                : by_linux(r.esi);
    check("protected mode without paging, interrupts off",
          (r.cr0 & 0x80000001) == 1 && (r.eflags & 0x20200) == 0);
    say("booted by {}\n", given.protocol);
    say("command line: {}\n", std::string_view{reinterpret_cast<const char*>(given.command_line)});
    std::uint64_t usable = 0;
    for (std::uint64_t range = given.map; range < given.map_end; range += given.range_size)
        if (const std::uint64_t base = range + given.range_offset; at(base + 16) == 1)
            usable += at<std::uint64_t>(base + 8);
    say("usable: {} KiB\n", usable / 1024);
    say("module: {}\n",
        std::string_view{reinterpret_cast<const char*>(given.module), given.module_size});
    if (given.rsdp != 0)
        check("the RSDP",
              std::memcmp(reinterpret_cast<const void*>(given.rsdp), "RSD PTR ", 8) == 0);
    say("boot checks: {} failed\n", failures);
    power_off();
}
