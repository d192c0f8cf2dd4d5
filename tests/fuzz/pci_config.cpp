// Configuration space that devices make up: the pci server looks at all of it, comes to an end, and believes nothing that
// cannot be.
//
// Input: flags (1), then functions of {place (1), header type (1), class (1), bytes and which bits of them can be written (192)}
// in the first 256 bytes; what lies beyond is the input's rest.
#include "tests/fuzz/input.hpp"

#include "servers/pci/lines.hpp"
#include "servers/pci/topology.hpp"

#include <bit>

using namespace margay;
using namespace margay::pci;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

struct Registers {
    bool is_there;
    std::uint8_t bytes[plain_bytes], writable[plain_bytes];
};

struct Machine final : Config {
    bool extended = false;
    Registers function[8] = {};
    std::span<const std::uint8_t> beyond;
    unsigned accesses = 0;

    // Of bus 0 and 1, devices 0 and 1, functions 0 and 1.
    Registers* find(Address a) {
        if (a.bus > 1 || a.device > 1 || a.function > 1) return nullptr;
        Registers& f = function[a.bus << 2 | a.device << 1 | a.function];
        return f.is_there ? &f : nullptr;
    }
    bool has_extended() const override { return extended; }
    std::uint32_t read(Address a, unsigned offset) override {
        ++accesses;
        require(offset % 4 == 0 && offset < (extended ? extended_bytes : plain_bytes),
                "a register that there is");
        const Registers* f = find(a);
        if (f == nullptr) return ~0U;
        std::uint32_t value = 0;
        for (unsigned i = 0; i < 4; ++i) {
            const unsigned at = offset + i;
            std::uint8_t byte = 0;
            if (at < plain_bytes)
                byte = f->bytes[at];
            else if (!beyond.empty())
                byte = beyond[(at - plain_bytes) % beyond.size()];
            value |= std::uint32_t{byte} << (8 * i);
        }
        return value;
    }
    void write(Address a, unsigned offset, std::uint32_t value) override {
        ++accesses;
        require(offset % 4 == 0 && offset < (extended ? extended_bytes : plain_bytes),
                "a register that there is");
        Registers* f = find(a);
        for (unsigned i = 0; f != nullptr && i < 4 && offset + i < plain_bytes; ++i) {
            const std::uint8_t mask = f->writable[offset + i];
            std::uint8_t& byte = f->bytes[offset + i];
            byte = static_cast<std::uint8_t>((byte & ~mask) | (value >> (8 * i) & mask));
        }
    }
};

void check(const Function& f) {
    const Capabilities& c = f.capabilities;
    for (const unsigned at : {+c.power, +c.msi, +c.msix, +c.express})
        require(at == 0 || (at >= 0x40 && at % 4 == 0), "a place of a capability");
    require(c.access_control == 0 || c.access_control >= reg::extended_capabilities,
            "a place of an extended one");
    for (const Bar& b : f.bar) {
        require(b.size == 0 || std::has_single_bit(b.size), "a power of two");
        require(b.size == 0 || b.base % b.size == 0, "at a multiple of it");
        require(b.kind != Bar::Kind::none || b.size == 0, "nothing has no size");
    }
    if (f.msix.entries == 0) return;
    require(f.msix.entries <= 2048 && f.msix.bar < Function::bars, "a table");
    const Bar &table = f.bar[f.msix.bar], &pending = f.bar[f.msix.pending_bar];
    require(table.kind == Bar::Kind::memory && pending.kind == Bar::Kind::memory, "in memory");
    require(f.msix.offset + std::uint64_t{f.msix.entries} * 16 <= table.size, "within its BAR");
    require(f.msix.pending_offset + (f.msix.entries + 63) / 64 * 8 <= pending.size,
            "and so its bits");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input{data, size};
    static Machine machine;
    machine = {};
    const unsigned flags = input.take<std::uint8_t>();
    machine.extended = (flags & 1) != 0;
    for (unsigned n = 0; n < 1 + (flags >> 1 & 3); ++n) {
        Registers& f = machine.function[input.take<std::uint8_t>() % 8];
        f.is_there = true;
        const std::uint8_t header = input.take<std::uint8_t>(), kind = input.take<std::uint8_t>();
        const auto rest = input.take_bytes(192);
        for (unsigned i = 0; i < rest.size(); ++i) f.bytes[i % plain_bytes] ^= rest[i];
        // The halves of a byte say which bits of a BAR's byte can be written, as a rule the upper ones.
        for (unsigned i = 0; i < 24; ++i)
            f.writable[reg::first_bar + i] = i < rest.size() ? rest[rest.size() - 1 - i] : 0;
        f.writable[reg::command] = 7;
        f.bytes[reg::header_type] = header;
        f.bytes[reg::revision + 3] = kind;
        f.bytes[0] |= 1;
        f.bytes[1] &= 0x7f;
    }
    machine.beyond = input.take_rest();
    Registers before[8];
    std::memcpy(before, machine.function, sizeof(before));

    static Topology topology;
    topology = {};
    topology.scan(machine);
    require(topology.count() <= Topology::most, "a list");
    require(machine.accesses < 200'000, "an end");
    for (unsigned i = 0; i < topology.count(); ++i) {
        const Topology::Entry& e = topology[i];
        check(e.function);
        require(topology.find(e.function.address) == i, "each once");
        require(e.group < topology.count() && topology[e.group].group == e.group, "a group");
        require(e.parent == Topology::no_parent || topology[e.parent].function.is_bridge,
                "below a bridge");
        const unsigned line = line_of(machine, topology, i);
        require(line == 0 || (line >= 16 && line < 24), "a line of the chip set");
    }
    for (unsigned i = 0; i < 8; ++i) {
        const Registers &was = before[i], &is = machine.function[i];
        require(std::memcmp(was.bytes, is.bytes, sizeof(was.bytes)) == 0, "as it was before");
    }
    return 0;
}
