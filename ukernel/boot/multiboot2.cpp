#include "ukernel/boot/multiboot2.hpp"

#include <cstring>

#include "support/field.hpp"

namespace margay {

namespace {

enum Tag : std::uint32_t {
    tag_end = 0,
    tag_command_line = 1,
    tag_module = 3,
    tag_memory_map = 6,
    tag_acpi_old = 14,
    tag_acpi_new = 15,
};

void copy_text(char* to, unsigned room, const std::uint8_t* from, std::uint32_t length) {
    unsigned i = 0;
    for (; i + 1 < room && i < length && from[i] != 0; ++i) to[i] = static_cast<char>(from[i]);
    to[i] = 0;
}

void add_module(BootData& d, const std::uint8_t* t, std::uint32_t size) {
    if (size < 17) return;
    if (d.module_count == BootData::max_modules) {
        ++d.modules_left_out;
        return;
    }
    BootModule& m = d.modules[d.module_count++];
    m.begin = HostPhys{field<std::uint32_t>(t, 8)};
    m.end = HostPhys{field<std::uint32_t>(t, 12)};
    copy_text(m.name, sizeof(m.name), t + 16, size - 16);
}

void find_memory(BootData& d, const std::uint8_t* t, std::uint32_t size) {
    if (size < 16) return;
    const std::uint32_t entry = field<std::uint32_t>(t, 8);
    if (entry < 24 || entry > size) return;
    const std::uint32_t count = (size - 16) / entry;
    if (count <= BootData::max_memory_entries) d.memory = {t + 16, entry, count};
}

}  // namespace

bool parse_multiboot2(const std::uint8_t* info, HostPhys self, BootData& d) {
    const std::uint32_t total = field<std::uint32_t>(info, 0);
    if (total < 16 || total > 1 << 20) return false;
    d.begin = HostPhys{align_down(self.value(), 4096)};
    d.end = HostPhys{align_up(self.value() + total, 4096)};
    for (std::uint32_t at = 8; at + 8 <= total;) {
        const std::uint8_t* t = info + at;
        const std::uint32_t type = field<std::uint32_t>(t, 0);
        const std::uint32_t size = field<std::uint32_t>(t, 4);
        if (size < 8 || size > total - at) return false;
        switch (type) {
        case tag_end: return d.memory.count != 0;
        case tag_command_line:
            copy_text(d.command_line, sizeof(d.command_line), t + 8, size - 8);
            break;
        case tag_module: add_module(d, t, size); break;
        case tag_memory_map: find_memory(d, t, size); break;
        case tag_acpi_old:
            if (d.rsdp[0] != 0) break;
            [[fallthrough]];
        case tag_acpi_new:
            std::memset(d.rsdp, 0, sizeof(d.rsdp));
            std::memcpy(d.rsdp, t + 8, size - 8 < 36 ? size - 8 : 36);
            break;
        default: break;
        }
        at += static_cast<std::uint32_t>(align_up(size, 8));
    }
    return false;
}

}  // namespace margay
