// Domain: a protection domain, i.e. a capability table and a native address space.
#pragma once
#include "support/result.hpp"
#include "ukernel/object/map_target.hpp"
#include "ukernel/object/thread.hpp"

namespace margay {

struct Domain : MapTarget {
    CapSlot* slots = nullptr;
    std::uint32_t slot_count = 0;
    std::uint64_t cr3 = 0;  // what switching to it writes, see memory/pcid.hpp
    char name[17] = {};
    bool is_supervisor = false;  // init: nobody is left to do anything about its end
    std::uint64_t symbols = 0;   // address of the image's symbol table, 0 if none
    Thread::DomainList threads;

    // How many bytes at the start of the storage must be zero.
    static constexpr std::uint64_t zeroed_bytes(std::uint64_t slot_count) {
        return domain_overhead + align_up(slot_count * sizeof(CapSlot), page_size);
    }
    // Places a Domain with its tables into storage [base, base+size), whose first zeroed_bytes are zero.
    static Result<Domain*> create(HostPhys base, std::uint64_t size, std::uint64_t slot_count,
                                  std::uint64_t mapping_count);

    CapSlot* slot(std::uint64_t number) { return number < slot_count ? &slots[number] : nullptr; }

    // While it is taken apart (derivation.cpp), when nobody can find it any more:
    // Ends a thread; false if none was left.
    bool end_thread();
    // A slot that is in use, or null; looks at up to `count` slots and says in `more` if some were left.
    CapSlot* any_slot(unsigned count, bool& more);
    // Unloads its tables. Nothing is left in it.
    void destroy();

    std::uint32_t searched = 0;  // slots before this one are empty
};

}  // namespace margay
