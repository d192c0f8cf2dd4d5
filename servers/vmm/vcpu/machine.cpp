#include "servers/vmm/vcpu/machine.hpp"

#include "aml/dsdt.hpp"
#include "libipc/log.hpp"
#include "servers/vmm/acpi/tables.hpp"
#include "servers/vmm/cpu/exception_vector.hpp"
#include "servers/vmm/emulator/instruction_length.hpp"
#include "servers/vmm/loader/load_image.hpp"
#include "servers/vmm/vcpu/report.hpp"

namespace margay::vmm {

Machine::Machine(const Parts& p)
    : ram_{p.ram, p.ram_bytes},
      cpu_{p.cpu},
      number_base_{transaction_number(p.cpu, 0)},
      first_event_{p.first_event},
      shares_core_{p.shares_core},
      cpus_{*p.cpus},
      own_{*p.cpus->state[p.cpu]},
      state_{*p.state},
      vcpu_{p.vcpu},
      control_{*p.control},
      lock_{p.lock, transaction_, unusual_.board_locked},
      words_{ram_, p.region->header.guest_word, transaction_},
      glue_{own_.vcpu, transaction_},
      channel_{p.console},
      console_{{p.devices->console, transaction_}, transaction_, *channel_.channel()},
      clock_{glue_, p.devices->board.time.live, unusual_.clock_adjusted},
      board_{{p.devices->board, cpus_, cpu_, transaction_, lock_, *this, clock_, *this, *this, ram_,
              words_, p.functions, p.hands}},
      emulator_{ram_, board_},
      restored_at_{p.restored_at},
      resumed_at_{p.resumed_at} {}

bool Machine::load_guest(std::span<const std::byte> kernel, std::span<const std::byte> initrd,
                         std::string_view append) {
    const std::span<std::byte> low = ram_.all().first(RamLayout::make(ram_.all().size()).low);
    const AcpiConfig acpi{std::as_bytes(std::span{aml::dsdt}), board_.config().apic_id, cpus_.count,
                          board_.dsdt_options()};
    const std::uint64_t rsdp = write_acpi_tables(low, acpi);
    const LoadResult result =
        load_image(ram_.all(), {kernel, initrd, append, rsdp, &control_.placed});
    if (result.error == LoadError::none && rsdp != 0) {
        start_ = result.start;
        return true;
    }
    const std::string_view why =
        to_text(result.error != LoadError::none ? result.error : LoadError::ram_too_small);
    set_reason(control_, why);
    return false;
}

void Machine::offer_interrupt(Reply& r, std::uint64_t vector) {
    glue_.edit().offered_vector = vector;
    r.vector = vector;
    r.dirty |= state::irq_word;
}

void Machine::arm(Reply& r, std::uint64_t deadline_ns) {
    glue_.edit().armed_deadline_ns = deadline_ns;
    r.deadline =
        deadline_ns == vmm::no_deadline ? margay::no_deadline : clock_.host_tsc(deadline_ns);
    r.dirty |= state::deadline_word;
}

void Machine::finish_rarely(const Exit& e, Reply& r, std::uint64_t offer) {
    if (glue_->awaits_startup != 0) {
        r.action = Action::park;
    } else if (glue_->halted != 0) {
        constexpr std::uint64_t rflags_if = 1 << 9;
        // A vCPU that goes on from a saved state has its flags in the state page.
        const bool takes_interrupts =
            ((e.exit_class == ExitClass::startup ? state_.rflags : e.rflags) & rflags_if) != 0;
        if ((offer != no_vector && takes_interrupts) || glue_->kicked != 0)
            glue_.edit().halted = glue_.edit().kicked = 0;
        else
            sleep(takes_interrupts, r);
    }
    // An instruction that is done, with TF set before it: the trap comes before anything else does.
    if ((e.rflags & rflags::tf) != 0 && r.action == Action::advance) trap_single_step(r);
    if (unusual_.clock_adjusted) {
        unusual_.clock_adjusted = false;
        state_.tsc_offset = clock_.offset();
        r.dirty |= state::tsc_offset;
    }
    const bool waits = unusual_.function_wait != FunctionWait::none;
    if (waits) wait_for_function(r);
    const bool injects = (r.dirty & state::event) != 0;
    if (glue_->awaits_startup != 0 || waits) {
        // It stays for later.
    } else if (board_.has_nmi() && injects) {
        arm(r, clock_.now_ns());  // one event at a time: the NMI comes with the next exit, at once
    } else if (board_.nmi_to_inject()) {
        state_.event = event_injection::valid | event_injection::type_nmi | 2;
        r.dirty |= state::event;
        if (glue_->halted != 0) {
            r.action = r.action == Action::park_advance ? Action::advance : Action::resume;
            glue_.edit().halted = 0;
            glue_.edit().is_off = 0;
        }
    }
    if (unusual_.outcome != VmOutcome::running) {
        // Before the exit is committed: a VMM that ends here has said it too early, and its successor says it again.
        control_.exits = e.sequence;
        control_.outcome.store(unusual_.outcome);
        r.action = Action::stop;
    }
    if (unusual_.length != 0) skip_by_hand(e, r);
    if (unusual_.board_locked) write_answer(r);
}

[[gnu::always_inline]] inline void Machine::finish(const Exit& e, Reply& r) {
    const VcpuGlueState& glue = *glue_;
    std::uint64_t offer = no_vector;
    if (board_.may_interrupt()) [[unlikely]]
        if (const std::optional<std::uint8_t> vector = board_.interrupt_to_inject())
            offer = *vector;
    if (offer != glue.offered_vector) [[unlikely]]
        offer_interrupt(r, offer);
    const std::uint64_t deadline = board_.next_deadline();
    if (deadline != glue.armed_deadline_ns) [[unlikely]]
        arm(r, deadline);
    if ((glue.halted | glue.awaits_startup) != 0 || unusual_.any() || board_.has_nmi() ||
        (e.rflags & rflags::tf) != 0) [[unlikely]]
        finish_rarely(e, r, offer);
}

// Notes the length of the instruction, if it is not the one that the kernel assumes for this class
// (exit_flag::length_assumed).
void Machine::measure_length(const Exit& e) {
    unsigned assumed;
    switch (e.exit_class) {
    case ExitClass::cpuid:
    case ExitClass::msr:
    case ExitClass::pause:
    case ExitClass::rdpmc:
    case ExitClass::cache_control:
    case ExitClass::time_stamp: assumed = 2; break;
    case ExitClass::halt: assumed = 1; break;
    case ExitClass::hypercall: assumed = 3; break;
    default: return;
    }
    read_state(state::rip | state::rflags | state::segments | state::control);
    const unsigned length = decode_length(ram_, state_);
    if (length != 0 && length != assumed)
        unusual_.length = static_cast<std::uint8_t>(length);
    else
        checked_[e.rip % checked_places] = e.rip;
}

void Machine::skip_by_hand(const Exit& e, Reply& r) {
    const unsigned length = unusual_.length;
    unusual_.length = 0;
    if (r.action == Action::advance)
        r.action = Action::resume;
    else if (r.action == Action::park_advance)
        r.action = Action::park;
    else
        return;
    state_.rip = e.rip + length;
    r.dirty |= state::rip;
}

// Whether an exit whose handler changes nothing but the guest's registers needs no finish(): what the answer before this
// one has offered and armed still holds, and whatever comes from elsewhere comes with an exit of its own. An interrupt that
// was taken is noted in the glue. A VMM that has just taken over does the whole.
bool Machine::has_changed_nothing(const Exit& e) const {
    return !glue_.is_edited() && !unusual_.any() && (e.rflags & rflags::tf) == 0 &&
           (e.flags & exit_flag::replayed) == 0;
}

Reply Machine::handle(const Exit& e) {
    transaction_.begin(number_base_ | e.sequence);
    if ((e.flags & exit_flag::replayed) != 0) [[unlikely]]
        if (Reply r; send_answer_again(r)) return r;
    if (glue_->offered_vector != no_vector && (e.flags & exit_flag::irq_pending) == 0)
        [[unlikely]] {
        // A vCPU that goes on from a saved state has lost the offer: go_on() makes it again.
        if (e.exit_class != ExitClass::startup) {
            board_.interrupt_taken(static_cast<std::uint8_t>(glue_->offered_vector));
            glue_.edit().offered_vector = no_vector;
        }
    }
    const auto check_length = [&] {
        if ((e.flags & exit_flag::length_assumed) != 0 && checked_[e.rip % checked_places] != e.rip)
            [[unlikely]]
            measure_length(e);
    };
    Reply r;
    switch (e.exit_class) {
    case ExitClass::port: on_port(e, r); break;
    case ExitClass::msr:
        check_length();
        on_msr(e, r);
        break;
    case ExitClass::mmio:
        if (board_.may_be_function(e.detail0)) [[unlikely]]
            on_function_touch(e, r);
        else
            on_mmio(e, r);
        break;
    case ExitClass::cpuid:
        check_length();
        on_cpuid(e, r);
        // A program asks some forty times when it starts.
        if (has_changed_nothing(e)) [[likely]]
            return r;
        break;
    case ExitClass::hypercall:
        check_length();
        on_hypercall(e, r);
        break;
    case ExitClass::halt:
        check_length();
        on_halt(e, r);
        break;
    case ExitClass::recall:
    case ExitClass::deadline: on_wake(e, r); break;
    case ExitClass::startup: on_startup(r); break;
    case ExitClass::control_register: on_control_register(e, r); break;
    default:
        check_length();
        on_other(e, r);
        break;
    }
    finish(e, r);
    return r;
}

// From here on the exit is done, although the kernel does not know it yet.
void Machine::write_answer(const Reply& r) {
    AnswerState& a = own_.answer.live;
    a.number = 0;
    order_stores();
    a.action = static_cast<std::uint64_t>(r.action);
    a.dirty = r.dirty, a.rax = r.rax, a.vector = r.vector, a.deadline = r.deadline;
    for (unsigned i = 0; i < std::size(a.gpr); ++i) a.gpr[i] = state_.gpr[i];
    a.rip = state_.rip, a.rflags = state_.rflags;
    a.cr2 = state_.cr2, a.dr6 = state_.dr6, a.event = state_.event;
    order_stores();
    a.number = transaction_.number();
    order_stores();
    board_.tell_first();
    lock_.release();
}

// The state page may be as it was before the exit.
bool Machine::send_answer_again(Reply& r) {
    const AnswerState& a = own_.answer.live;
    if (a.number != transaction_.number()) return false;
    r.action = static_cast<Action>(a.action);
    r.dirty = a.dirty, r.rax = a.rax, r.vector = a.vector, r.deadline = a.deadline;
    constexpr std::uint64_t kept = state::gpr_low | state::gpr_mid | state::gpr_high | state::rip |
                                   state::rflags | state::debug | state::event;
    read_state(r.dirty & state::all & ~kept);
    for (unsigned i = 0; i < std::size(a.gpr); ++i) state_.gpr[i] = a.gpr[i];
    state_.rip = a.rip, state_.rflags = a.rflags;
    state_.cr2 = a.cr2, state_.dr6 = a.dr6, state_.event = a.event;
    return true;
}

std::uint64_t Machine::begin_turn() {
    // What a VMM before this one took out of the mark may have died with it.
    const bool first = !had_turn_ && board_.steal_time().is_enabled();
    had_turn_ = true;
    return board_.steal_time().clear_mark() || first ? state::translations : 0;
}

// One whose next exit waits already is in the middle of an instruction, for which it may have used translations that it
// must not use any more: no mark then. That is asked last, since once it is recalled it makes no other exits; and first,
// since two that are recalled while their exits wait would do nothing but answer recalls.
void Machine::lose_turn() {
    if (!board_.steal_time().is_enabled() ||
        (glue_->halted | glue_->awaits_startup | glue_->waits_for_function) != 0)
        return;
    const auto exit_waits = [this] {
        const Result<VcpuStatus> status = query_vcpu(vcpu_);
        return !status || status->pending;
    };
    if (exit_waits()) return;
    wake(cpu_);
    if (!exit_waits()) board_.steal_time().set_mark();
}

void Machine::wake(unsigned cpu) { (void)signal(first_event_ + cpu, recall_bit::peer); }

void Machine::put(std::uint8_t byte) {
    console_.put(byte);
    channel_.flush();
}

void Machine::read_console() {
    board_.share_console();
    console_.release_input();
    channel_.tell_room();
    for (char byte; console_.peek(byte); console_.take())
        if (!board_.console_input(static_cast<std::uint8_t>(byte))) return;
}

void Machine::inject_exception(Reply& r, unsigned vector, bool has_error, std::uint32_t error) {
    state_.event = event_injection::valid | event_injection::type_exception | vector;
    if (has_error)
        state_.event |= event_injection::has_error | static_cast<std::uint64_t>(error)
                                                         << event_injection::error_shift;
    r.dirty |= state::event;
    r.action = Action::resume;
}

void Machine::trap_single_step(Reply& r) {
    constexpr std::uint64_t dr6_bs = 1 << 14;
    const Action action = r.action;
    read_state(state::debug);
    state_.dr6 |= dr6_bs;
    inject_exception(r, exception_vector::debug, false, 0);
    r.dirty |= state::debug;
    r.action = action;
}

void Machine::read_state(std::uint64_t groups) {
    (void)vcpu_ctl(vcpu_, VcpuOp::read_state, groups);
}

void Machine::fail(Reply& r, const char* why, VmOutcome outcome) {
    read_state(state::all & ~(state::event | state::intercepts));
    report_failure(state_, why);
    end_vm(control_, why, outcome);
    unusual_.outcome = outcome;
    r.action = Action::stop;
    r.dirty = 0;
}

}  // namespace margay::vmm
