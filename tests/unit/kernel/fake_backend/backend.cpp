#include "ukernel/arch/x86_64/backend.hpp"

#include <cstring>

#include "guest.hpp"
#include "machine.hpp"
#include "ukernel/exit/exit_switch.hpp"
#include "ukernel/memory/direct_map.hpp"

namespace margay {

void PermissionMap::init(HostPhys storage) {
    bits_ = direct<std::uint8_t>(storage);
    std::memset(bits_, 0xff, bytes);
}

void PermissionMap::set(std::uint64_t first, std::uint64_t count, bool intercept) {
    for (std::uint64_t p = first; p < first + count; ++p) {
        const auto bit = static_cast<std::uint8_t>(1u << p % 8);
        bits_[p / 8] =
            static_cast<std::uint8_t>(intercept ? bits_[p / 8] | bit : bits_[p / 8] & ~bit);
    }
}

namespace backend {

bool enable(Core& core, HostPhys) { return core.backend.enabled = true; }
void init(Vcpu& v, HostPhys) { v.guest = GuestContext{}; }

void store_state(Vcpu& v, std::uint64_t groups) {
    if (groups & state::gpr_low) {
        v.page->gpr[gpr_rax] = v.guest.rax();
        for (const unsigned r : {gpr_rcx, gpr_rdx, gpr_rbx}) v.page->gpr[r] = v.gpr[r];
    }
    if (groups & state::rip) v.page->rip = v.guest.rip();
    if (groups & state::rflags) v.page->rflags = v.guest.rflags();
}

Status load_state(Vcpu& v, std::uint64_t groups) {
    const VcpuState& p = *v.page;
    constexpr std::uint64_t type = 7 << 8;
    if ((groups & state::event) != 0 && (p.event & event_injection::valid) != 0 &&
        (p.event & type) == 0)
        return Status::bad_argument;
    if (groups & state::gpr_low) {
        v.guest.set_rax(p.gpr[gpr_rax]);
        for (const unsigned r : {gpr_rcx, gpr_rdx, gpr_rbx}) v.gpr[r] = p.gpr[r];
    }
    if (groups & state::rip) v.guest.advance(p.rip);
    if (groups & state::rflags) v.guest.flags = p.rflags;
    if (groups & state::shadow) v.guest.in_shadow = (p.shadow & 1) != 0;
    if (groups & state::event) v.guest.injected = p.event;
    return Status::ok;
}

void set_interrupt(Vcpu& v, std::uint64_t vector) { v.guest.interrupt = vector; }

void flush(Vcpu& v) { ++v.guest.flushes; }

void enter(Core&, Vcpu& v) {
    ++v.guest.entries;
    throw machine::Entered{&v};
}

void forget(Vcpu&) {}
void print_state(const Vcpu&) {}

}  // namespace backend

namespace machine {

void reset_backend(Core& core) { core.backend = {true}; }
void set_rip(Vcpu& v, std::uint64_t rip) { v.guest.instruction = rip; }

void exit(Vcpu& v, ExitClass exit_class, std::uint64_t detail0, std::uint64_t detail1) {
    std::uint64_t next = 0;
    if (exit_class == ExitClass::halt) next = v.guest.rip() + 1;
    if (exit_class == ExitClass::cpuid) next = v.guest.rip() + 2;
    if (exit_class == ExitClass::port) next = detail1;
    exit_to_handler(v, exit_class, detail0, detail1, next);
}

}  // namespace machine

}  // namespace margay
