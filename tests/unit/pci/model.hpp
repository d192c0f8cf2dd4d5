// Configuration space of a machine that does not exist: functions with registers, of which some bits can be written.
#pragma once
#include <gtest/gtest.h>

#include <array>
#include <map>

#include "servers/pci/config.hpp"

namespace margay::pci::model {

class Function {
  public:
    std::array<std::uint8_t, extended_bytes> bytes{}, writable{};
    // Decoding was on while a BAR was probed.
    bool probed_while_decoding = false;
    unsigned status_writes = 0;  // ones written to the status register

    Function& set(unsigned offset, std::uint64_t value, unsigned width) {
        for (unsigned i = 0; i < width; ++i)
            bytes[offset + i] = static_cast<std::uint8_t>(value >> 8 * i);
        return *this;
    }
    std::uint32_t get(unsigned offset) const {
        std::uint32_t v = 0;
        for (unsigned i = 0; i < 4; ++i) v |= std::uint32_t{bytes[offset + i]} << 8 * i;
        return v;
    }
    Function& bar(unsigned n, std::uint32_t flags, std::uint64_t base, std::uint64_t size) {
        const unsigned at = reg::first_bar + 4 * n;
        const bool wide = (flags & 7) == 4;
        set(at, base | flags, wide ? 8 : 4);
        const std::uint64_t mask = ~(size - 1) & ~std::uint64_t{(flags & 1) != 0 ? 3u : 15u};
        for (unsigned i = 0; i < (wide ? 8 : 4); ++i)
            writable[at + i] = static_cast<std::uint8_t>(mask >> 8 * i);
        return *this;
    }
    // In front of the list so far.
    Function& capability(std::uint8_t id, std::uint8_t at) {
        bytes[reg::status] |= 1 << 4;
        bytes[at] = id;
        bytes[at + 1] = bytes[reg::capabilities];
        bytes[reg::capabilities] = at;
        return *this;
    }
    Function& express(unsigned type, bool flr, std::uint8_t at = 0x80) {
        capability(0x10, at);
        set(at + 2, 2 | type << 4, 2);
        return set(at + 4, flr ? 1u << 28 : 0, 4);
    }
    // Access control, all on or off.
    Function& access_control(bool on) {
        set(0x100, 0x0001000d, 4);
        return set(0x104, on ? 0x001d001d : 0x0000001d, 4);
    }
};

class Machine final : public Config {
  public:
    bool extended = true;

    Function& add(std::uint8_t bus, std::uint8_t device, std::uint8_t function, std::uint32_t ids,
                  std::uint32_t class_code = 0x020000) {
        Function& f = functions_[key({bus, device, function})];
        f = {};
        f.set(reg::vendor, ids, 4).set(reg::revision, std::uint64_t{class_code} << 8 | 3, 4);
        f.set(reg::command, command::memory | command::bus_master, 2);
        f.writable[reg::command] = 7;
        return f;
    }
    Function& bridge(std::uint8_t bus, std::uint8_t device, std::uint8_t secondary,
                     std::uint8_t subordinate) {
        Function& f = add(bus, device, 0, 0x000c1b36, 0x060400);
        f.bytes[reg::header_type] = 1;
        f.bytes[reg::buses + 1] = secondary;
        f.bytes[reg::buses + 2] = subordinate;
        return f;
    }
    Function& at(Address a) { return functions_.at(key(a)); }

    bool has_extended() const override { return extended; }
    std::uint32_t read(Address a, unsigned offset) override {
        EXPECT_EQ(offset % 4, 0u);
        EXPECT_LT(offset, extended ? extended_bytes : plain_bytes);
        ++reads;
        const auto f = functions_.find(key(a));
        return f == functions_.end() ? ~0u : f->second.get(offset);
    }
    void write(Address a, unsigned offset, std::uint32_t value) override {
        EXPECT_EQ(offset % 4, 0u);
        const auto found = functions_.find(key(a));
        if (found == functions_.end()) return;
        Function& f = found->second;
        if (offset >= reg::first_bar && offset < 0x28 && value == ~0u &&
            (f.bytes[reg::command] & 3) != 0)
            f.probed_while_decoding = true;
        if (offset == reg::command && value >> 16 != 0) ++f.status_writes;
        for (unsigned i = 0; i < 4; ++i) {
            std::uint8_t& b = f.bytes[offset + i];
            const std::uint8_t w = f.writable[offset + i];
            b = static_cast<std::uint8_t>((b & ~w) | (value >> 8 * i & w));
        }
    }

    unsigned reads = 0;

  private:
    static unsigned key(Address a) { return a.requester(); }
    std::map<unsigned, Function> functions_;
};

}  // namespace margay::pci::model
