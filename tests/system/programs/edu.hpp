// QEMU's `edu`: a PCI function whose DMA and messages are whatever its registers say. A copy begins 100 ms of virtual time
// after its command, and translates then.
#pragma once
#include "tests/support.hpp"

namespace margay::test {

class Edu {
  public:
    // Bytes of one copy at most: the model aborts the emulator beyond.
    static constexpr std::uint64_t most = 4095;

    explicit Edu(init::Node& node) : node_{node} {}

    bool find() {
        for (std::uint32_t slot = 0; slot < 32; ++slot) {
            function_ = 0x80000000 | slot << 11;
            if (read(0) == 0x11e81234) return set_up();
        }
        return false;
    }
    // PCI bus, device and function as one number.
    std::uint16_t requester() const { return static_cast<std::uint16_t>(function_ >> 8 & 0xffff); }

    void program_message(std::uint64_t address, std::uint32_t data) {
        write(msi_ + 4, static_cast<std::uint32_t>(address));
        write(msi_ + 8, static_cast<std::uint32_t>(address >> 32));
        write(msi_ + 12, data);
    }
    void send() {
        registers_[0x60 / 4] = 1;
        registers_[0x64 / 4] = 1;
    }
    // Both return at once.
    void fetch(std::uint64_t from, std::uint64_t bytes) { copy(from, buffer, bytes, 1); }
    void store(std::uint64_t to, std::uint64_t bytes) { copy(buffer, to, bytes, 3); }
    bool is_copying() const { return (registers_[0x98 / 4] & 1) != 0; }

  private:
    static constexpr std::uint64_t buffer = 0x40000;

    void copy(std::uint64_t from, std::uint64_t to, std::uint64_t bytes, std::uint32_t command) {
        set(0x80, from);
        set(0x88, to);
        set(0x90, bytes < most ? bytes : most);
        registers_[0x98 / 4] = command;
    }
    void set(unsigned offset, std::uint64_t value) {
        *reinterpret_cast<volatile std::uint64_t*>(reinterpret_cast<std::uint64_t>(registers_) +
                                                   offset) = value;
    }
    std::uint32_t read(std::uint32_t offset) {
        (void)port_write(init_slot::ports, 0xcf8, 4, function_ | offset);
        return port_read(init_slot::ports, 0xcfc, 4);
    }
    void write(std::uint32_t offset, std::uint32_t value) {
        (void)port_write(init_slot::ports, 0xcf8, 4, function_ | offset);
        (void)port_write(init_slot::ports, 0xcfc, 4, value);
    }
    bool set_up() {
        const std::uint64_t bar = read(0x10) & ~0xfull;
        write(4, read(4) | 6);  // memory, bus master
        for (msi_ = read(0x34) & 0xfc; msi_ != 0; msi_ = read(msi_) >> 8 & 0xfc)
            if ((read(msi_) & 0xff) == 5) break;
        if (msi_ == 0) return false;
        write(msi_ + 8, 0);  // upper half of the address
        write(msi_, read(msi_) | 1 << 16);
        const BootInfo& info = node_.info();
        for (unsigned i = 0; i < info.extents; ++i) {
            const BootExtent& e = info.extent[i];
            if (e.use != ExtentUse::device || bar < e.base || bar - e.base >= e.size) continue;
            const std::uint64_t at = node_.new_range(page_size);
            must(map(e.slot, init_slot::domain, at, bar - e.base, page_size, map_right::read_write),
                 "device");
            registers_ = reinterpret_cast<volatile std::uint32_t*>(at);
            return true;
        }
        return false;
    }

    init::Node& node_;
    std::uint32_t function_ = 0, msi_ = 0;
    volatile std::uint32_t* registers_ = nullptr;
};

}  // namespace margay::test
