#include "ukernel/arch/x86_64/io_apic.hpp"

#include <atomic>

#include "ukernel/arch/x86_64/cpu.hpp"
#include "ukernel/arch/x86_64/iommu/iommu.hpp"
#include "ukernel/core/measure.hpp"
#include "ukernel/memory/kernel_tables.hpp"

namespace margay::io_apic {

namespace {

struct Controller {
    volatile std::uint32_t* select;
    volatile std::uint32_t* window;
    unsigned first, count, id;
};
Controller controllers[max_controllers];
unsigned controller_count = 0;

struct Line {
    bool active_low, level;
};
Line lines[max_gsi];

// Select and window belong together; the handler on core 0 and irq_ctl on any core use them.
class RegisterLock {
  public:
    RegisterLock() {
        while (taken.test_and_set(std::memory_order_acquire)) cpu::pause();
    }
    ~RegisterLock() { taken.clear(std::memory_order_release); }
    RegisterLock(const RegisterLock&) = delete;
    RegisterLock& operator=(const RegisterLock&) = delete;

  private:
    inline static std::atomic_flag taken;
};

std::uint32_t read(const Controller& c, std::uint32_t index) {
    const RegisterLock lock;
    *c.select = index;
    return *c.window;
}
void write(const Controller& c, std::uint32_t index, std::uint32_t value) {
    const measure::Elsewhere turn;
    const RegisterLock lock;
    *c.select = index;
    *c.window = value;
}
const Controller* find(unsigned gsi) {
    for (unsigned i = 0; i < controller_count; ++i)
        if (gsi >= controllers[i].first && gsi < controllers[i].first + controllers[i].count)
            return &controllers[i];
    return nullptr;
}

constexpr std::uint32_t masked = 1 << 16;

}  // namespace

void add(HostPhys base, unsigned first_gsi, unsigned id) {
    if (controller_count == max_controllers) return;
    auto* page = static_cast<volatile std::uint32_t*>(kernel_tables::map_device(base));
    Controller c{page, page + 4, first_gsi, 0, id};
    c.count = (read(c, 1) >> 16 & 0xff) + 1;
    for (unsigned pin = 0; pin < c.count; ++pin) {
        write(c, 0x10 + pin * 2, masked);
        // PCI lines are level-triggered and active low.
        const unsigned gsi = first_gsi + pin;
        if (gsi >= 16 && gsi < max_gsi) lines[gsi] = {true, true};
    }
    controllers[controller_count++] = c;
}

void set_trigger(unsigned gsi, bool active_low, bool level) {
    if (gsi < max_gsi) lines[gsi] = {active_low, level};
}

bool exists(unsigned gsi) {
    const Controller* c = gsi < max_gsi ? find(gsi) : nullptr;
    return c != nullptr && !iommu::blocks_lines(c->id);
}
bool is_level(unsigned gsi) { return lines[gsi].level; }

void unmask(unsigned gsi, unsigned vector, unsigned apic_id) {
    const Controller* c = find(gsi);
    if (c == nullptr) return;
    const unsigned pin = gsi - c->first, index = 0x10 + pin * 2;
    const Line& line = lines[gsi];
    iommu::LineEntry entry{vector, apic_id << 24};
    if (iommu::remaps_lines(c->id))
        entry = iommu::set_line(c->id, pin, vector, apic_id, line.level);
    write(*c, index + 1, entry.high);
    write(*c, index, entry.low | (line.active_low ? 1u << 13 : 0) | (line.level ? 1u << 15 : 0));
}

void mask(unsigned gsi) {
    const Controller* c = find(gsi);
    if (c != nullptr) write(*c, 0x10 + (gsi - c->first) * 2, masked);
}

}  // namespace margay::io_apic
