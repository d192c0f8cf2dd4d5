// The machine's configuration space: by memory where firmware says that it is mapped (PCI firmware specification 3.2 §4.1, MCFG),
// and by ports otherwise (PCI local bus specification 3.0 §3.2.2.3.2).
#pragma once
#include "libipc/system_call.hpp"
#include "servers/pci/config.hpp"

namespace margay::pci {

class MachineConfig final : public Config {
  public:
    // Of some buses, mapped here; buses * 1 MiB.
    struct Window {
        std::uint64_t at = 0;
        unsigned first = 0, buses = 0;
    };
    static constexpr unsigned most_windows = 4;

    explicit MachineConfig(Slot ports) : ports_{ports} {}
    void add(const Window& w) {
        if (windows_ < most_windows) window_[windows_++] = w;
    }

    bool has_extended() const override { return windows_ != 0; }
    std::uint32_t read(Address a, unsigned offset) override {
        if (const auto* p = find(a, offset)) return *p;
        if (offset >= plain_bytes || !select(a, offset)) return ~0u;
        return port_read(ports_, data, 4);
    }
    void write(Address a, unsigned offset, std::uint32_t value) override {
        if (auto* p = find(a, offset))
            *p = value;
        else if (offset < plain_bytes && select(a, offset))
            (void)port_write(ports_, data, 4, value);
    }

  private:
    static constexpr std::uint16_t index = 0xcf8, data = 0xcfc;

    volatile std::uint32_t* find(Address a, unsigned offset) const {
        for (unsigned i = 0; i < windows_; ++i) {
            const Window& w = window_[i];
            if (a.bus < w.first || a.bus - w.first >= w.buses) continue;
            const std::uint64_t function = a.requester() - (w.first << 8);
            return reinterpret_cast<volatile std::uint32_t*>(w.at + function * extended_bytes +
                                                             offset);
        }
        return nullptr;
    }
    bool select(Address a, unsigned offset) const {
        constexpr std::uint32_t enable = 1u << 31;
        return port_write(ports_, index, 4,
                          enable | static_cast<std::uint32_t>(a.requester()) << 8 | offset) ==
               Status::ok;
    }

    const Slot ports_;
    Window window_[most_windows];
    unsigned windows_ = 0;
};

}  // namespace margay::pci
