#pragma once

#include "servers/vmm/emulator/emulator.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <vector>

namespace margay::vmm::test {

/// RAM from guest-physical 0 on.
class Ram final : public GuestMemory {
  public:
    explicit Ram(std::size_t pages) : page_(pages) {}

    std::span<std::byte> window(std::uint64_t gpa, std::size_t length) override {
        ++windows;
        const std::size_t size = page_.size() * 4096;
        if (gpa > size || length > size - gpa) {
            return {};
        }
        return {page_.data()->bytes + gpa, length};
    }
    template <typename T>
    T get(std::uint64_t gpa) {
        T value;
        std::memcpy(&value, window(gpa, sizeof(T)).data(), sizeof(T));
        return value;
    }
    template <typename T>
    void put(std::uint64_t gpa, T value) {
        std::memcpy(window(gpa, sizeof(T)).data(), &value, sizeof(T));
    }
    void put_bytes(std::uint64_t gpa, std::initializer_list<unsigned> bytes) {
        for (const unsigned byte : bytes) {
            put<std::uint8_t>(gpa++, static_cast<std::uint8_t>(byte));
        }
    }
    std::size_t windows = 0;

  private:
    struct alignas(4096) Page {
        std::byte bytes[4096] = {};
    };
    std::vector<Page> page_;
};

inline constexpr std::uint64_t device_base = 0xfed0'0000;
inline constexpr std::uint64_t device_bytes = 0x4000;

/// A device that is plain memory and remembers what was done to it.
class Device final : public Bus {
  public:
    struct Access {
        bool write;
        std::uint64_t address;
        unsigned width;
        std::uint64_t value;
        bool operator==(const Access&) const = default;
    };

    std::uint64_t mmio_read(std::uint64_t gpa, unsigned width) override {
        std::uint64_t value = 0;
        if (check(gpa, width)) {
            std::memcpy(&value, bytes + (gpa - device_base), width);
        }
        log.push_back({false, gpa, width, value});
        return value;
    }
    void mmio_write(std::uint64_t gpa, unsigned width, std::uint64_t value) override {
        if (check(gpa, width)) {
            std::memcpy(bytes + (gpa - device_base), &value, width);
        }
        log.push_back({true, gpa, width, value});
    }
    std::uint32_t port_read(std::uint16_t port, unsigned width) override {
        const std::uint32_t value = next_input++;
        log.push_back({false, port, width, value});
        return value;
    }
    void port_write(std::uint16_t port, unsigned width, std::uint32_t value) override {
        log.push_back({true, port, width, value});
    }

    std::byte bytes[device_bytes] = {};
    std::vector<Access> log;
    std::uint32_t next_input = 0x11;

  private:
    static bool check(std::uint64_t gpa, unsigned width) {
        EXPECT_TRUE(width == 1 || width == 2 || width == 4 || width == 8) << width;
        EXPECT_LE((gpa & 0xfff) + width, 0x1000U) << std::hex << gpa;
        const bool inside = gpa >= device_base && gpa - device_base + width <= device_bytes;
        EXPECT_TRUE(inside) << std::hex << gpa;
        return inside;
    }
};

/// A vCPU in one of the usual modes, with page tables made by hand. Guest-physical pages 0x10000 and up are for
/// page tables, in the order of their making.
class Machine {
  public:
    static constexpr std::uint64_t present = 1, writable = 2, user = 4, accessed = 0x20,
                                   dirty = 0x40, large = 0x80, no_execute = 1ull << 63;

    Machine() { long_mode(); }

    void long_mode() {
        state.cr0 = 0x8001'0001;
        state.cr4 = 0x20;
        state.efer = 0xd00;
        state.cr3 = table();
        code_segment(0xa9b);
        state.rflags = 2;
    }
    void pae_mode() {
        long_mode();
        state.efer = 0x800;
        code_segment(0xc9b);
    }
    void legacy_mode() {
        pae_mode();
        state.cr4 = 0x10;
        state.efer = 0;
    }
    void real_mode() {
        state.cr0 = 0x10;
        state.cr4 = 0;
        state.efer = 0;
        code_segment(0x9b);
        for (auto* segment : {&state.es, &state.ss, &state.ds, &state.fs, &state.gs}) {
            *segment = {0, 0x93, 0xffff, 0};
        }
        state.cs = {0, 0x9b, 0xffff, 0};
        state.rflags = 2;
    }
    void code_segment(std::uint16_t attributes) {
        state.cs = {8, attributes, 0xffff'ffff, 0};
        for (auto* segment : {&state.es, &state.ss, &state.ds, &state.fs, &state.gs}) {
            *segment = {16, 0xc93, 0xffff'ffff, 0};
        }
    }
    void become_user() { state.ss.attributes |= 0x60; }

    std::uint64_t table() {
        next_table_ += 0x1000;
        return next_table_ - 0x1000;
    }

    /// Make the tables down to `level` (1: a 4 KiB page) of 8-byte entries, and give the entry's address.
    std::uint64_t entry(std::uint64_t linear, unsigned level = 1, unsigned levels = 0) {
        if (levels == 0) {
            levels = (state.efer & 0x400) != 0 ? 4 : 3;
        }
        std::uint64_t at = state.cr3;
        for (unsigned l = levels;; --l) {
            at += ((linear >> (12 + 9 * (l - 1))) & 511) * 8;
            if (l == level) {
                return at;
            }
            if ((ram.get<std::uint64_t>(at) & 1) == 0) {
                const bool top_of_pae = levels == 3 && l == 3;
                ram.put<std::uint64_t>(at, table() | (top_of_pae ? 1 : 7));
            }
            at = ram.get<std::uint64_t>(at) & 0x000f'ffff'ffff'f000;
        }
    }
    void map(std::uint64_t linear, std::uint64_t gpa, std::uint64_t bits = present | writable) {
        ram.put<std::uint64_t>(entry(linear), gpa | bits);
    }

    Ram ram{256};
    Device device;
    VcpuState state{};
    Emulator emulator{ram, device};

  private:
    std::uint64_t next_table_ = 0x10000;
};

}  // namespace margay::vmm::test
