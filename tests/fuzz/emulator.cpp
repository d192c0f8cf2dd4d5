// Arbitrary code, registers and page tables for the instruction emulator.
//
// Input: mode (1), exit page (1), access (1), number of patches (1), RFLAGS (2), 16 registers of
// {kind (1), value (2)}, patches of {RAM offset (2), value (8)}, code (the rest, at most 64 bytes).
#include "tests/fuzz/input.hpp"

#include "servers/vmm/emulator/emulator.hpp"
#include "servers/vmm/emulator/instruction_length.hpp"

using namespace margay;
using namespace margay::vmm;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

constexpr std::uint64_t ram_bytes = 0x10000;
constexpr std::uint64_t device_base = 0xfee0'0000;
constexpr std::uint64_t code_offset = 0x5ff0;  // so that code runs across a page boundary
// Linear addresses 0..0xffff are RAM, 0x10000..0x11fff the device, then nothing.
constexpr std::uint64_t device_linear = 0x10000;

struct Ram final : GuestMemory {
    std::span<std::byte> window(std::uint64_t gpa, std::size_t length) override {
        if (gpa > ram_bytes || length > ram_bytes - gpa) {
            return {};
        }
        return {bytes + gpa, length};
    }
    template <typename T>
    void put(std::uint64_t at, T value) {
        std::memcpy(bytes + at, &value, sizeof(T));
    }
    alignas(4096) std::byte bytes[ram_bytes];
};

struct Device final : Bus {
    void check(std::uint64_t gpa, unsigned width) {
        require(width == 1 || width == 2 || width == 4 || width == 8, "bus width");
        require((gpa & 0xfff) + width <= 0x1000, "one page per bus access");
        require(gpa >= ram_bytes || gpa + width > ram_bytes, "RAM is not on the bus");
        ++accesses;
    }
    std::uint64_t mmio_read(std::uint64_t gpa, unsigned width) override {
        check(gpa, width);
        return (gpa * 0x9e37'79b9'7f4a'7c15) >> (64 - 8 * width);
    }
    void mmio_write(std::uint64_t gpa, unsigned width, std::uint64_t value) override {
        check(gpa, width);
        require(width == 8 || value >> (8 * width) == 0, "nothing above the width");
    }
    std::uint32_t port_read(std::uint16_t, unsigned width) override {
        require(width == 1 || width == 2 || width == 4, "port width");
        return static_cast<std::uint32_t>(++accesses);
    }
    void port_write(std::uint16_t, unsigned width, std::uint32_t value) override {
        require(width == 1 || width == 2 || width == 4, "port width");
        require(width == 4 || value >> (8 * width) == 0, "nothing above the width");
        ++accesses;
    }
    std::uint64_t accesses = 0;
};

Ram ram, ram_before;

void make_tables(unsigned mode, VcpuState& s) {
    s.cr0 = 0x8001'0001;
    s.cr3 = 0x1000;
    switch (mode % 5) {
    case 0:  // real mode
        s.cr0 = 0;
        s.cs.attributes = 0x9b;
        return;
    case 1:  // 32-bit, no paging
        s.cr0 = 1;
        return;
    case 2:  // legacy paging
        s.cr4 = 0x10;
        ram.put<std::uint32_t>(0x1000, 0x2007);
        for (unsigned i = 0; i < 18; ++i) {
            ram.put<std::uint32_t>(
                0x2000 + i * 4,
                (i < 16 ? i * 0x1000
                        : static_cast<std::uint32_t>(device_base) + (i - 16) * 0x1000) |
                    7);
        }
        return;
    case 3:  // PAE
        s.cr4 = 0x20;
        s.efer = 0x800;
        ram.put<std::uint64_t>(0x1000, 0x2001);
        break;
    default:  // long mode
        s.cr4 = 0x20;
        s.efer = 0xd00;
        s.cs.attributes = 0xa9b;
        ram.put<std::uint64_t>(0x1000, 0x4007);
        ram.put<std::uint64_t>(0x4000, 0x2007);
        break;
    }
    ram.put<std::uint64_t>(0x2000, 0x3007);
    for (unsigned i = 0; i < 18; ++i) {
        ram.put<std::uint64_t>(0x3000 + i * 8,
                               (i < 16 ? i * 0x1000 : device_base + (i - 16) * 0x1000) | 7);
    }
}

/// What changed must be announced.
void check_dirty(const VcpuState& before, const VcpuState& after, const EmulationResult& result) {
    const auto check = [&](bool same, std::uint64_t group) {
        require(same || (result.dirty & group) != 0, "a change that is not in `dirty`");
    };
    for (unsigned i = 0; i < 16; ++i) {
        check(before.gpr[i] == after.gpr[i], i < 4   ? state::gpr_low
                                             : i < 8 ? state::gpr_mid
                                                     : state::gpr_high);
    }
    check(before.rip == after.rip, state::rip);
    check(before.rflags == after.rflags, state::rflags);
    check(std::memcmp(&before.es, &after.es, 6 * sizeof(SegmentState)) == 0, state::segments);
    check(std::memcmp(&before.cr0, &after.cr0, 5 * 8) == 0, state::control);
    check(before.event == after.event, state::event);
    require(((before.rflags ^ after.rflags) & ~(rflags::arithmetic | rflags::rf)) == 0,
            "only arithmetic flags change");
}

void check_outcome(const VcpuState& before, const VcpuState& after, const EmulationResult& result,
                   const Device& device) {
    check_dirty(before, after, result);
    switch (result.outcome) {
    case Emulation::done: {
        const auto step = (after.rip - before.rip) & CpuMode::of(before).ip_mask();
        require(step >= 1 && step <= 15, "RIP is behind the instruction");
        break;
    }
    case Emulation::partial: require(before.rip == after.rip, "RIP stays at a REP"); break;
    case Emulation::exception:
        require(before.rip == after.rip && (after.event >> 31 & 1) == 1, "a fault is injected");
        require(result.vector != 14 || after.cr2 == result.address, "CR2");
        break;
    case Emulation::not_emulated:
    case Emulation::unhandled:
        require(result.reason != nullptr, "there is a reason");
        [[fallthrough]];
    case Emulation::retry:
        require(result.dirty == 0 && std::memcmp(&before, &after, sizeof(before)) == 0,
                "nothing was done");
        require(device.accesses == 0, "no device was touched");
        break;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input{data, size};
    std::memset(ram.bytes, 0, sizeof(ram.bytes));
    static VcpuState s, before;
    s = {};
    s.cs = {8, 0xc9b, 0xffff'ffff, 0};
    for (auto* segment : {&s.es, &s.ss, &s.ds, &s.fs, &s.gs}) {
        *segment = {16, 0xc93, 0xffff'ffff, 0};
    }
    const unsigned mode = input.take<std::uint8_t>();
    make_tables(mode, s);
    s.ss.attributes |= (mode & 0x80) != 0 ? 0x60 : 0;
    const std::uint64_t exit_page = input.take<std::uint8_t>();
    const unsigned access = input.take<std::uint8_t>();
    const unsigned patches = input.take<std::uint8_t>() % 8;
    s.rflags = 2 | input.take<std::uint16_t>();
    for (auto& value : s.gpr) {
        const unsigned kind = input.take<std::uint8_t>();
        const std::uint64_t low = input.take<std::uint16_t>();
        switch (kind % 4) {
        case 0: value = low; break;
        case 1: value = device_linear + (low & 0x1fff); break;
        case 2: value = ~low; break;
        default: value = low * 0x0001'0000'0100'0001; break;
        }
    }
    for (unsigned i = 0; i < patches; ++i) {
        const std::uint64_t at = input.take<std::uint16_t>() & ~7U;
        ram.put(at, input.take<std::uint64_t>());
    }
    s.rip = code_offset;
    for (const auto byte : input.take_bytes(64)) {
        ram.put(s.rip++, byte);
    }
    s.rip = code_offset;
    if (CpuMode::of(s).paging == Paging::off) {
        // Nothing leads to the device but segments.
        s.ds.base = s.gs.base = s.cr0 == 0 ? device_base : device_base - device_linear;
        s.es.base = (mode & 0x40) != 0 ? s.ds.base : 0;
    }

    Device device;
    Emulator emulator{ram, device};
    (void)decode_length(ram, s);
    std::memcpy(ram_before.bytes, ram.bytes, sizeof(ram.bytes));
    before = s;
    // The exit's address: as the guest's registers say, for most inputs.
    const std::uint64_t gpa = device_base + (exit_page & 1) * 0x1000 +
                              (s.gpr[(exit_page >> 1) & 15] & 0xfff) + (exit_page >> 5);
    const auto run = [&] {
        return (access & 0x80) != 0
                   ? emulator.port_string(
                         s, (s.gpr[gpr_rdx] & 0xffff) |
                                std::uint64_t{access & 7U} << port_access::width_shift |
                                ((access & 0x40) != 0 ? port_access::in : 0) | port_access::string)
                   : emulator.mmio(
                         s, gpa,
                         access & (mmio_access::present | mmio_access::write | mmio_access::fetch));
    };
    const auto cold = run();
    check_outcome(before, s, cold, device);

    // Again from the same start, with what the caches learned: nothing may differ.
    static VcpuState after;
    after = s;
    const auto accesses = device.accesses;
    s = before;
    std::memcpy(ram.bytes, ram_before.bytes, sizeof(ram.bytes));
    device.accesses = 0;
    const auto warm = run();
    require(warm.outcome == cold.outcome && warm.dirty == cold.dirty &&
                device.accesses == accesses && std::memcmp(&after, &s, sizeof(s)) == 0,
            "caches change nothing");
    return 0;
}
