// Memory that firmware goes on to use through functions behind the system's back: screens, keyboards by USB. An IVMD block of the
// IVRS (AMD I/O Virtualization Technology specification §5.2.2.4) or an RMRR of the DMAR (Intel VT-d specification §8.4).
#pragma once
#include <cstdint>
#include <span>

#include "proto/kernel.hpp"
#include "support/address.hpp"
#include "ukernel/arch/x86_64/iommu/dma_tables.hpp"
#include "ukernel/arch/x86_64/iommu/requester.hpp"
#include "ukernel/memory/memory_map.hpp"

namespace margay::iommu {

struct FirmwareMemory {
    Requester function;
    bool reads, writes;
    HostPhys begin, end;  // whole pages
    friend bool operator==(const FirmwareMemory&, const FirmwareMemory&) = default;
};

// What such functions reach: what is firmware's, at its own address, each function its own. They stay with the node.
// Frames: a back end of PageTable, whose release() may do nothing.
template <typename Frames>
class FirmwareSpaces {
  public:
    static constexpr unsigned max_functions = 32;
    struct Space {
        Requester function;
        HostPhys root;
    };
    enum class Answer : std::uint8_t {
        ok,
        is_ram,      // the machine's memory map says that it is anybody's
        unmappable,  // no such address, interrupt messages, or more than max_map_leaves
        no_room,
    };

    FirmwareSpaces(Frames& frames, const DmaFormat& format, const MemoryMap& memory)
        : frames_{frames}, format_{format}, memory_{memory} {}

    // Nothing is let through unless the answer is `ok`. What was let through before stays so.
    Answer let_through(const FirmwareMemory& m) {
        if (memory_.has_free(m.begin, m.end)) return Answer::is_ram;
        if (m.begin >= m.end || m.end.value() > format_.end ||
            (m.begin.value() < messages_end && m.end.value() > messages_begin))
            return Answer::unmappable;
        Space* s = find(m.function);
        if (s == nullptr && (s = add(m.function)) == nullptr) return Answer::no_room;
        return with_dma_tables(format_, frames_, s->root, [&](auto format, auto tables) {
            const std::uint64_t flags = (m.reads ? format.read : 0) | (m.writes ? format.write : 0);
            return flags == 0 ? Answer::ok : map(tables, m, flags);
        });
    }
    std::span<const Space> spaces() const { return {spaces_, count_}; }

  private:
    template <typename Tables>
    Answer map(Tables& tables, const FirmwareMemory& m, std::uint64_t flags) {
        const std::uint64_t at = m.begin.value(), size = m.end - m.begin;
        if (tables.leaves(at, m.begin, size, max_map_leaves + 1) > max_map_leaves)
            return Answer::unmappable;
        Status s = tables.map(at, m.begin, size, flags);
        // Said twice, or in parts: the first word counts for each page.
        if (s == Status::occupied) {
            s = Status::ok;
            for (std::uint64_t p = 0; p < size && s != Status::no_memory; p += page_size)
                s = tables.map(at + p, m.begin + p, page_size, flags);
            if (s == Status::occupied) s = Status::ok;
        }
        return s == Status::ok ? Answer::ok : Answer::no_room;
    }
    Space* find(Requester function) {
        for (unsigned i = 0; i < count_; ++i)
            if (spaces_[i].function == function) return &spaces_[i];
        return nullptr;
    }
    Space* add(Requester function) {
        if (count_ == max_functions) return nullptr;
        const std::optional<HostPhys> root = frames_.allocate();
        if (!root) return nullptr;
        with_dma_tables(format_, frames_, *root,
                        [&](auto format, auto&&) { format.written(frames_.table(*root), 512); });
        spaces_[count_] = {function, *root};
        return &spaces_[count_++];
    }

    Frames& frames_;
    DmaFormat format_;
    const MemoryMap& memory_;
    Space spaces_[max_functions];
    unsigned count_ = 0;
};

}  // namespace margay::iommu
