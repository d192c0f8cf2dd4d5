// Vcpu: a guest execution context, bound to a core; a source of exits behind a back end.
#pragma once
#include "support/address.hpp"
#include "support/result.hpp"
#include "ukernel/arch/x86_64/backend.hpp"
#include "ukernel/arch/x86_64/lazy_registers.hpp"
#include "ukernel/exit/exit_source.hpp"

namespace margay {

struct Space;

struct InSpaceTag;

struct Vcpu : ExitSource, bi::list_base_hook<bi::tag<InSpaceTag>, bi::link_mode<bi::auto_unlink>> {
    using SpaceHook = bi::list_base_hook<bi::tag<InSpaceTag>, bi::link_mode<bi::auto_unlink>>;
    using SpaceList = bi::list<Vcpu, bi::base_hook<SpaceHook>, bi::constant_time_size<false>>;

    // gpr[] of Context holds the guest's general registers, but for those that the back end keeps.
    GuestContext guest;      // known to assembler
    Space* space = nullptr;  // null once that ends; changed on this core only
    LazyRegisters lazy;

    static Result<Vcpu*> create(HostPhys base, std::uint64_t size, Space& space, Core& core,
                                unsigned priority, HostPhys state_page);
    void destroy();

    // Flags of the exit message.
    std::uint64_t message_flags() const {
        return guest.exit_flags() | pending.flags |
               ((delivery & delivery::seen) != 0 ? exit_flag::replayed : 0);
    }
};

}  // namespace margay
