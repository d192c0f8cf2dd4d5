#include "servers/init/power.hpp"

#include <cstring>

#include "libipc/log.hpp"
#include "libipc/system_call.hpp"
#include "support/address.hpp"
#include "support/field.hpp"

namespace margay::init {

namespace {

// Firmware memory, mapped piece by piece: ACPI tables lie in ranges that the memory map calls firmware
// or device memory.
class FirmwareView {
  public:
    explicit FirmwareView(Node& node) : node_{node} {}

    // Null if the bytes are in no such range.
    const std::uint8_t* at(std::uint64_t address, std::uint64_t bytes) {
        const BootInfo& info = node_.info();
        for (unsigned i = 0; i < info.extents; ++i) {
            const BootExtent& e = info.extent[i];
            if (e.use != ExtentUse::firmware && e.use != ExtentUse::device) continue;
            if (address < e.base || address - e.base > e.size ||
                bytes > e.size - (address - e.base))
                continue;
            const std::uint64_t first = align_down(address, page_size);
            const std::uint64_t size = align_up(address + bytes, page_size) - first;
            const std::uint64_t here = node_.new_range(size);
            if (map(e.slot, init_slot::domain, here, first - e.base, size, map_right::read) !=
                Status::ok)
                return nullptr;
            return reinterpret_cast<const std::uint8_t*>(here + (address - first));
        }
        return nullptr;
    }

    // A whole table with the signature, null if there is none at the address.
    const std::uint8_t* table(std::uint64_t address, const char* signature) {
        constexpr std::uint32_t header = 36, largest = 1 << 20;
        const std::uint8_t* p = at(address, header);
        if (p == nullptr || std::memcmp(p, signature, 4) != 0) return nullptr;
        const auto length = field<std::uint32_t>(p, 4);
        return length < header || length > largest ? nullptr : at(address, length);
    }

  private:
    Node& node_;
};

struct SoftOff {
    std::uint16_t control = 0;  // PM1a control port, 0: unknown
    std::uint16_t type = 0;     // SLP_TYPa of S5
};

// \_S5 without an AML interpreter: NameOp "_S5_" PackageOp length count {BytePrefix} value
// (ACPI 6.4 §7.4.2, §20.2). All firmware writes it in this form.
bool find_sleep_type(const std::uint8_t* dsdt, std::uint16_t& type) {
    const auto length = field<std::uint32_t>(dsdt, 4);
    for (std::uint32_t i = 36; i + 8 <= length; ++i) {
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

SoftOff find_soft_off(Node& node) {
    FirmwareView firmware{node};
    const std::uint8_t* rsdp = node.info().rsdp;
    SoftOff off;
    if (std::memcmp(rsdp, "RSD PTR ", 8) != 0) return off;
    const bool extended = rsdp[15] >= 2 && field<std::uint64_t>(rsdp, 24) != 0;
    const std::uint8_t* root = extended ? firmware.table(field<std::uint64_t>(rsdp, 24), "XSDT")
                                        : firmware.table(field<std::uint32_t>(rsdp, 16), "RSDT");
    if (root == nullptr) return off;
    const unsigned entry = extended ? 8 : 4;
    for (std::uint32_t at = 36; at + entry <= field<std::uint32_t>(root, 4); at += entry) {
        const std::uint64_t address =
            extended ? field<std::uint64_t>(root, at) : field<std::uint32_t>(root, at);
        const std::uint8_t* fadt = firmware.table(address, "FACP");
        if (fadt == nullptr || field<std::uint32_t>(fadt, 4) < 68) continue;
        const std::uint8_t* dsdt = firmware.table(field<std::uint32_t>(fadt, 40), "DSDT");
        if (dsdt != nullptr && find_sleep_type(dsdt, off.type))
            off.control = static_cast<std::uint16_t>(field<std::uint32_t>(fadt, 64));
    }
    return off;
}

// The last characters still stand in the transmitters of COM1 and COM2, and go with the machine. Where there is no
// line, all bits are set.
void let_console_finish() {
    constexpr std::uint64_t transmitter_empty = 0x40;
    for (const std::uint16_t line_status : {0x3fd, 0x2fd})
        for (unsigned i = 0; i < 100'000; ++i)
            if ((port_read(init_slot::ports, line_status, 1) & transmitter_empty) != 0) break;
}

// A power-off takes effect behind the access that asks for it, on an emulator as on a machine.
void wait_for_it(Node& node, Slot event, std::uint64_t us) {
    const std::uint64_t end = rdtsc() + node.ticks(us);
    while (rdtsc() < end) (void)wait(event, end);
}

}  // namespace

void power_off(Node& node, std::uint16_t exit_port, bool good) {
    constexpr std::uint64_t exit_port_us = 2'000'000, soft_off_us = 10'000'000;
    let_console_finish();
    if (exit_port != 0) (void)port_write(init_slot::ports, exit_port, 1, good ? 0x10 : 0x11);
    const Result<Slot> never = node.create_event();
    const Slot event = never ? *never : no_slot;
    if (exit_port != 0) wait_for_it(node, event, exit_port_us);
    if (const SoftOff off = find_soft_off(node); off.control != 0) {
        constexpr std::uint32_t sleep_enable = 1 << 13;
        (void)port_write(init_slot::ports, off.control, 2,
                         static_cast<std::uint32_t>(off.type) << 10 | sleep_enable);
        wait_for_it(node, event, soft_off_us);
    }
    log("margay: this machine cannot be turned off by software; it is safe to switch it off\n");
    for (;;)
        if (!wait(event)) asm volatile("pause");
}

}  // namespace margay::init
