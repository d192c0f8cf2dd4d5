// Domain: a protection domain, i.e. a capability table and a native address space.
#pragma once
#include "support/result.hpp"
#include "ukernel/object/map_target.hpp"
#include "ukernel/object/thread.hpp"

namespace margay {

struct Domain : MapTarget {
    CapSlot* slots = nullptr;
    std::uint32_t slot_count = 0;
    std::uint64_t cr3 = 0;
    char name[17] = {};
    bool is_supervisor = false;  // init: nobody is left to do anything about its end
    std::uint64_t symbols = 0;   // address of the image's symbol table, 0 if none
    Thread::DomainList threads;

    // Places a Domain with its tables into storage [base, base+size).
    static Result<Domain*> create(HostPhys base, std::uint64_t size, std::uint64_t slot_count,
                                  std::uint64_t mapping_count);
    // A slot that is in use, or null.
    CapSlot* any_slot();
    void kill_threads();
    // Kills its threads and unloads its tables. Slots and mappings are empty by then.
    void destroy();

    CapSlot* slot(std::uint64_t number) { return number < slot_count ? &slots[number] : nullptr; }

    std::uint32_t search_hint = 0;
};

}  // namespace margay
