#include "servers/init/firmware.hpp"

#include <cstring>

#include "libipc/system_call.hpp"
#include "servers/init/holdings.hpp"
#include "support/address.hpp"
#include "support/field.hpp"

namespace margay::init {

namespace {

constexpr std::uint32_t header_bytes = 36, largest_table = 1 << 20;
constexpr std::uint64_t bus_bytes = 1 << 20;

// Copies of tables: they lie in ranges that the memory map calls firmware or device memory.
class Tables {
  public:
    explicit Tables(Node& node) : node_{node} { copies_.use(node); }
    ~Tables() { copies_.release(); }
    Tables(const Tables&) = delete;
    Tables& operator=(const Tables&) = delete;

    // A whole table with the signature, null if there is none at the address.
    const std::uint8_t* table(std::uint64_t address, const char* signature) {
        std::uint8_t header[header_bytes];
        if (!read(address, header, header_bytes) || std::memcmp(header, signature, 4) != 0)
            return nullptr;
        const auto length = field<std::uint32_t>(header, 4);
        if (length < header_bytes || length > largest_table) return nullptr;
        const Result<Extent> memory = copies_.allocate(length);
        if (!memory) return nullptr;
        const auto here = copies_.map_here(*memory, map_right::read_write);
        auto* const copy = here ? reinterpret_cast<std::uint8_t*>(*here) : nullptr;
        // It is what it was measured as, whatever firmware does meanwhile.
        if (copy == nullptr || !read(address, copy, length) ||
            field<std::uint32_t>(copy, 4) != length)
            return nullptr;
        return copy;
    }
    // f(table): each of those with the signature that the root table names.
    template <typename F>
    void for_each(const char* signature, F f) {
        const std::uint8_t* rsdp = node_.info().rsdp;
        if (std::memcmp(rsdp, "RSD PTR ", 8) != 0) return;
        const bool extended = rsdp[15] >= 2 && field<std::uint64_t>(rsdp, 24) != 0;
        if (root_ == nullptr)
            root_ = extended ? table(field<std::uint64_t>(rsdp, 24), "XSDT")
                             : table(field<std::uint32_t>(rsdp, 16), "RSDT");
        if (root_ == nullptr) return;
        const unsigned entry = extended ? 8 : 4;
        for (std::uint32_t at = header_bytes; at + entry <= field<std::uint32_t>(root_, 4);
             at += entry) {
            const std::uint64_t address =
                extended ? field<std::uint64_t>(root_, at) : field<std::uint32_t>(root_, at);
            if (const std::uint8_t* found = table(address, signature)) f(found);
        }
    }

  private:
    bool read(std::uint64_t address, void* to, std::uint64_t bytes) {
        const BootInfo& info = node_.info();
        for (unsigned i = 0; i < info.extents; ++i) {
            const BootExtent& e = info.extent[i];
            if (e.use != ExtentUse::firmware && e.use != ExtentUse::device) continue;
            if (address < e.base || address - e.base > e.size ||
                bytes > e.size - (address - e.base))
                continue;
            const std::uint64_t first = align_down(address, page_size);
            return copy({e.slot, first, align_up(address + bytes, page_size) - first},
                        e.use == ExtentUse::device, address - first, to, bytes);
        }
        return false;
    }
    // Pages of a boot extent. A mapped extent cannot be carved: a child of device memory is mapped, and gone again.
    bool copy(const Extent& pages, bool by_child, std::uint64_t offset, void* to,
              std::uint64_t bytes) {
        Extent mapped = pages;
        if (by_child) {
            mapped.slot = node_.new_slot();
            if (carve(mapped.slot, pages.slot, pages.base, pages.size) != Status::ok) {
                node_.give_back_slot(mapped.slot);
                return false;
            }
        }
        const std::uint64_t at = node_.new_range(pages.size);
        const std::uint64_t within = by_child ? 0 : pages.base - query_base(pages.slot);
        const bool good = map(mapped.slot, init_slot::domain, at, within, pages.size,
                              map_right::read) == Status::ok;
        if (good) std::memcpy(to, reinterpret_cast<const std::uint8_t*>(at) + offset, bytes);
        (void)revoke(mapped.slot, by_child ? revoke_flag::self : revoke_flag::descendants);
        if (by_child) node_.give_back_slot(mapped.slot);
        return good;
    }
    static std::uint64_t query_base(Slot slot) {
        const Result<ExtentInfo> info = query_memory(slot);
        return info ? info->base : 0;
    }

    Node& node_;
    Holdings copies_;
    const std::uint8_t* root_ = nullptr;
};

// \_S5 without an AML interpreter: NameOp "_S5_" PackageOp length count {BytePrefix} value
// (ACPI 6.4 §7.4.2, §20.2). All firmware writes it in this form.
bool find_sleep_type(const std::uint8_t* dsdt, std::uint16_t& type) {
    const auto length = field<std::uint32_t>(dsdt, 4);
    for (std::uint32_t i = header_bytes; i + 8 <= length; ++i) {
        if (std::memcmp(dsdt + i, "_S5_", 4) != 0 || dsdt[i + 4] != 0x12) continue;
        std::uint32_t at = i + 5;
        at += 1 + (dsdt[at] >> 6);  // package length
        ++at;                       // number of elements
        if (at >= length || (dsdt[at] == 0x0a && at + 1 == length)) return false;
        type = dsdt[at] == 0x0a ? dsdt[at + 1] : dsdt[at] <= 1 ? dsdt[at] : 0xff;
        return type <= 7;
    }
    return false;
}

void find_soft_off(Tables& tables, SoftOff& off) {
    tables.for_each("FACP", [&](const std::uint8_t* fadt) {
        if (field<std::uint32_t>(fadt, 4) < 68) return;
        const std::uint8_t* dsdt = tables.table(field<std::uint32_t>(fadt, 40), "DSDT");
        if (dsdt != nullptr && find_sleep_type(dsdt, off.type))
            off.control = static_cast<std::uint16_t>(field<std::uint32_t>(fadt, 64));
    });
}

void find_windows(Tables& tables, Firmware& found) {
    constexpr std::uint32_t first_entry = 44, entry_bytes = 16;
    tables.for_each("MCFG", [&](const std::uint8_t* mcfg) {
        const auto length = field<std::uint32_t>(mcfg, 4);
        for (std::uint32_t at = first_entry;
             at + entry_bytes <= length && found.windows < Firmware::max_windows;
             at += entry_bytes) {
            const unsigned first = mcfg[at + 10], last = mcfg[at + 11];
            if (field<std::uint16_t>(mcfg, at + 8) != 0 || first > last) continue;
            found.window[found.windows++] = {field<std::uint64_t>(mcfg, at) + first * bus_bytes,
                                             (last - first + 1) * bus_bytes, first};
        }
    });
}

}  // namespace

Firmware read_firmware(Node& node) {
    Firmware found;
    Tables tables{node};
    find_soft_off(tables, found.off);
    find_windows(tables, found);
    return found;
}

}  // namespace margay::init
