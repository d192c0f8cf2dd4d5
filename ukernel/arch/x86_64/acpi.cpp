#include "ukernel/arch/x86_64/acpi.hpp"

#include <cstring>

#include "ukernel/arch/x86_64/io_apic.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/memory/kernel_tables.hpp"

namespace margay::acpi {

namespace {

struct __attribute__((packed)) Rsdp {
    char signature[8];
    std::uint8_t checksum;
    char oem[6];
    std::uint8_t revision;
    std::uint32_t rsdt;
    std::uint32_t length;
    std::uint64_t xsdt;
};
struct __attribute__((packed)) Header {
    char signature[4];
    std::uint32_t length;
    std::uint8_t revision, checksum;
    char oem[6], table[8];
    std::uint32_t oem_revision, creator, creator_revision;
};

// Where the kernel can read these bytes; null if it cannot.
const std::uint8_t* view(std::uint64_t address, std::uint64_t bytes) {
    if (address == 0 || bytes == 0) return nullptr;
    const HostPhys begin{address};
    if (kernel_tables::is_ram(begin) && kernel_tables::is_ram(begin + (bytes - 1)))
        return direct<std::uint8_t>(begin);
    return static_cast<const std::uint8_t*>(kernel_tables::map_firmware(begin, bytes));
}

const std::uint8_t* table_at(std::uint64_t address, const char* signature) {
    const auto* h = reinterpret_cast<const Header*>(view(address, sizeof(Header)));
    if (h == nullptr || std::memcmp(h->signature, signature, 4) != 0) return nullptr;
    if (h->length < sizeof(Header) || h->length > 1 << 20) return nullptr;
    const std::uint8_t* table = view(address, h->length);
    if (table == nullptr) return nullptr;
    std::uint8_t sum = 0;
    for (std::uint32_t i = 0; i < h->length; ++i) sum += table[i];
    return sum == 0 ? table : nullptr;
}

template <typename T>
T field(const std::uint8_t* p, unsigned offset) {
    T v;
    std::memcpy(&v, p + offset, sizeof(T));
    return v;
}

void parse_madt(const std::uint8_t* t, Platform& platform) {
    const std::uint32_t length = reinterpret_cast<const Header*>(t)->length;
    if (length < 44) return;
    platform.local_apic = HostPhys{field<std::uint32_t>(t, 36)};
    for (std::uint32_t at = 44; at + 2 <= length && t[at + 1] >= 2 && at + t[at + 1] <= length;
         at += t[at + 1]) {
        const std::uint8_t* e = t + at;
        switch (e[0]) {
        case 0:  // local APIC: enabled
            if (e[1] >= 8 && (field<std::uint32_t>(e, 4) & 1) && platform.cores < max_cores)
                platform.apic_ids[platform.cores++] = e[3];
            break;
        case 1:
            if (e[1] >= 12)
                io_apic::add(HostPhys{field<std::uint32_t>(e, 4)}, field<std::uint32_t>(e, 8));
            break;
        case 2:  // interrupt source override
            if (e[1] >= 10) {
                const unsigned flags = field<std::uint16_t>(e, 8);
                io_apic::add_override(e[3], field<std::uint32_t>(e, 4), (flags & 3) == 3,
                                      (flags >> 2 & 3) == 3);
            }
            break;
        case 5:
            if (e[1] >= 12) platform.local_apic = HostPhys{field<std::uint64_t>(e, 4)};
            break;
        default: break;
        }
    }
}

void parse_fadt(const std::uint8_t* t, Platform& platform) {
    const std::uint32_t length = reinterpret_cast<const Header*>(t)->length;
    if (length >= 80)
        platform.pm_timer_port = static_cast<std::uint16_t>(field<std::uint32_t>(t, 76));
}

}  // namespace

bool parse(HostPhys rsdp_at, Platform& platform) {
    const auto* pointer = reinterpret_cast<const Rsdp*>(view(rsdp_at.value(), sizeof(Rsdp)));
    if (pointer == nullptr) return false;
    const Rsdp r = *pointer;
    if (std::memcmp(r.signature, "RSD PTR ", 8) != 0) return false;
    const bool extended = r.revision >= 2 && r.xsdt != 0;
    const std::uint8_t* root = table_at(extended ? r.xsdt : r.rsdt, extended ? "XSDT" : "RSDT");
    if (root == nullptr) return false;
    const std::uint32_t length = reinterpret_cast<const Header*>(root)->length;
    const unsigned entry = extended ? 8 : 4;
    bool found = false;
    for (std::uint32_t at = sizeof(Header); at + entry <= length; at += entry) {
        const std::uint64_t address =
            extended ? field<std::uint64_t>(root, at) : field<std::uint32_t>(root, at);
        if (const std::uint8_t* t = table_at(address, "APIC"))
            parse_madt(t, platform), found = true;
        if (const std::uint8_t* t = table_at(address, "FACP")) parse_fadt(t, platform);
    }
    return found;
}

}  // namespace margay::acpi
