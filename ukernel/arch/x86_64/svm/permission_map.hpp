// The I/O and MSR permission maps (AMD APM vol. 2 §15.10, §15.11). A set bit means: exit.
#pragma once
#include <cstdint>

#include "support/address.hpp"

namespace margay {

class IoBitmap {
  public:
    void intercept_all() {
        for (std::uint64_t& word : words_) word = ~0ull;
    }
    // Ports [first, first+count), within 0..65535.
    void allow(std::uint32_t first, std::uint32_t count) {
        for (std::uint32_t p = first; p < first + count; ++p) words_[p / 64] &= ~(1ull << p % 64);
    }
    void intercept(std::uint32_t first, std::uint32_t count) {
        for (std::uint32_t p = first; p < first + count; ++p) words_[p / 64] |= 1ull << p % 64;
    }
    bool intercepts(std::uint32_t port) const { return (words_[port / 64] >> port % 64 & 1) != 0; }

  private:
    // The processor also looks at the bits behind the last port for accesses that cross it.
    std::uint64_t words_[3 * 4096 / 8];
};
static_assert(sizeof(IoBitmap) == 3 * 4096);

class MsrBitmap {
  public:
    void intercept_all() {
        for (std::uint8_t& byte : bytes_) byte = 0xff;
    }
    // False if the index is outside the three ranges that the map covers (those always exit).
    bool allow(std::uint32_t index, bool read, bool write) {
        std::uint32_t bit = 0;
        if (!find(index, bit)) return false;
        if (read) bytes_[bit / 8] &= static_cast<std::uint8_t>(~(1u << bit % 8));
        if (write) bytes_[bit / 8] &= static_cast<std::uint8_t>(~(2u << bit % 8));
        return true;
    }
    bool intercepts(std::uint32_t index, bool write) const {
        std::uint32_t bit = 0;
        if (!find(index, bit)) return true;
        return (bytes_[bit / 8] >> (bit % 8 + (write ? 1 : 0)) & 1) != 0;
    }

  private:
    // Two bits per MSR: read, write.
    static bool find(std::uint32_t index, std::uint32_t& bit) {
        const std::uint32_t offset = index & 0x1fff;
        std::uint32_t range = 0;
        switch (index & ~0x1fffu) {
        case 0x0000'0000: range = 0; break;
        case 0xc000'0000: range = 1; break;
        case 0xc001'0000: range = 2; break;
        default: return false;
        }
        bit = (range * 0x800 * 8) + offset * 2;
        return true;
    }
    std::uint8_t bytes_[2 * 4096];
};
static_assert(sizeof(MsrBitmap) == 2 * 4096);

// What the guests of a Space may use without an exit.
class PermissionMap {
  public:
    static constexpr std::uint64_t bytes = sizeof(IoBitmap) + sizeof(MsrBitmap);

    // Nothing but the MSRs that are the guest's own.
    void init(HostPhys storage);
    // Ports [first, first+count), within 0..65535.
    void allow_ports(std::uint64_t first, std::uint64_t count) {
        io_->allow(static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(count));
    }
    void intercept_ports(std::uint64_t first, std::uint64_t count) {
        io_->intercept(static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(count));
    }
    bool intercepts_port(std::uint64_t port) const {
        return io_->intercepts(static_cast<std::uint32_t>(port));
    }
    HostPhys io_phys() const { return storage_; }
    HostPhys msr_phys() const { return storage_ + sizeof(IoBitmap); }

  private:
    HostPhys storage_;
    IoBitmap* io_ = nullptr;
};

}  // namespace margay
