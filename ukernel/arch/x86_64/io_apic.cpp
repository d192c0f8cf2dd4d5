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

constexpr std::uint32_t masked = 1 << 16, is_level_triggered = 1 << 15, remote_irr = 1 << 14,
                        is_active_low = 1 << 13;
// Words from the selecting register on: an entry's low byte written there completes it (82093AA has none; version 20h).
constexpr unsigned end_of_interrupt = 16;

std::uint32_t trigger_of(const Line& line) {
    return (line.active_low ? is_active_low : 0) | (line.level ? is_level_triggered : 0);
}

// What was asserted was served. A local APIC that took it as level-triggered has said so already; one that got it remapped to an edge
// has not. Without the register it is an edge for a moment, which forgets the request, and what changes in that moment.
void complete(const Controller& c, unsigned index) {
    const std::uint32_t low = read(c, index);
    if ((low & remote_irr) == 0) return;
    c.select[end_of_interrupt] = low & 0xff;
    if ((read(c, index) & remote_irr) != 0) write(c, index, masked);
}

}  // namespace

void add(HostPhys base, unsigned first_gsi, unsigned id) {
    if (controller_count == max_controllers) return;
    auto* page = static_cast<volatile std::uint32_t*>(kernel_tables::map_device(base));
    Controller c{page, page + 4, first_gsi, 0, id};
    c.count = (read(c, 1) >> 16 & 0xff) + 1;
    for (unsigned pin = 0; pin < c.count; ++pin) {
        // PCI lines are level-triggered and active low. A masked input follows a level only if it knows that it is one.
        const unsigned gsi = first_gsi + pin;
        if (gsi >= 16 && gsi < max_gsi) lines[gsi] = {true, true};
        write(c, 0x10 + pin * 2, masked | (gsi < max_gsi ? trigger_of(lines[gsi]) : 0));
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
    if (line.level) complete(*c, index);
    write(*c, index + 1, entry.high);
    write(*c, index, entry.low | trigger_of(line));
}

void mask(unsigned gsi) {
    const Controller* c = find(gsi);
    if (c == nullptr) return;
    const unsigned index = 0x10 + (gsi - c->first) * 2;
    write(*c, index, read(*c, index) | masked);
}

}  // namespace margay::io_apic
