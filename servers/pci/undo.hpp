// Registers that are written only for the moment, as BARs are to learn their sizes: whoever comes after one who died in the midst
// puts them back.
#pragma once
#include <atomic>

#include "servers/pci/config.hpp"

namespace margay::pci {

// In memory that outlives the server; all zero at first.
struct UndoBook {
    static constexpr unsigned most = 8;
    struct Entry {
        std::uint16_t requester, offset;
        std::uint32_t before;
    };
    std::atomic<std::uint32_t> count;
    Entry entry[most];
};

class UndoneConfig final : public Config {
  public:
    UndoneConfig(Config& inner, UndoBook& book) : inner_{inner}, book_{book} {}

    bool has_extended() const override { return inner_.has_extended(); }
    std::uint32_t read(Address a, unsigned offset) override { return inner_.read(a, offset); }
    void write(Address a, unsigned offset, std::uint32_t value) override {
        remember(a, offset);
        inner_.write(a, offset, value);
    }
    void settle() override { book_.count.store(0, std::memory_order_release); }

    // Everything that was not settled is as it was before, the last one first.
    void undo() {
        std::uint32_t n = book_.count.load(std::memory_order_acquire);
        for (n = n < UndoBook::most ? n : UndoBook::most; n != 0; --n) {
            const UndoBook::Entry& e = book_.entry[n - 1];
            inner_.write(address_of(e.requester), e.offset & (extended_bytes - 4), e.before);
        }
        settle();
    }

  private:
    void remember(Address a, unsigned offset) {
        const std::uint32_t n = book_.count.load(std::memory_order_relaxed);
        for (std::uint32_t i = 0; i < n && i < UndoBook::most; ++i)
            if (book_.entry[i].requester == a.requester() && book_.entry[i].offset == offset)
                return;
        if (n >= UndoBook::most) return;
        std::uint32_t before = inner_.read(a, offset);
        // The status register above it is cleared by ones.
        if (offset == reg::command) before &= 0xffff;
        book_.entry[n] = {a.requester(), static_cast<std::uint16_t>(offset), before};
        book_.count.store(n + 1, std::memory_order_release);
    }

    Config& inner_;
    UndoBook& book_;
};

}  // namespace margay::pci
