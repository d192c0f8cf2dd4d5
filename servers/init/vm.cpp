#include "servers/init/vm.hpp"

#include <algorithm>
#include <cstring>

#include "libipc/log.hpp"
#include "servers/init/clock.hpp"
#include "servers/init/vmm_report.hpp"

namespace margay::init {

namespace {

// A successor answers its first exits before init takes the core for anything else.
constexpr std::uint64_t head_start_us = 500;
constexpr std::uint64_t poll_us = 2;
// A start that takes longer says so often how far it is.
constexpr std::uint64_t tell_us = 2'000'000;

FailureKind kind_of(Status s) {
    switch (s) {
    case Status::no_memory: return FailureKind::no_memory;
    case Status::not_found: return FailureKind::not_found;
    default: return FailureKind::failed;
    }
}

bool refuse(Failure& why, const char* what, Status s) {
    why.set(kind_of(s), "{}: {}", what, to_text(s));
    return false;
}

}  // namespace

std::uint64_t Vm::bytes_of(const char* module) const {
    const Module* m = node_->module(module);
    return m == nullptr ? 0 : m->length;
}

std::uint64_t Vm::file_bytes() const {
    return bytes_of(config_->kernel) + bytes_of(config_->initrd);
}

std::uint64_t Vm::placed() const {
    return guest_.control == nullptr ? 0 : std::min(guest_.control->placed.load(), file_bytes());
}

void Vm::configure(Node& node, const VmConfig& config, const Connections& to,
                   unsigned first_ticket) {
    node_ = &node;
    config_ = &config;
    to_ = to;
    policies_.use(node, config);
    killer_.configure(node.ticks(config.test_kill_us), config.test_kill_seed);
    life_.configure(limits(), config.vmm, config.vmm_fallback, first_ticket);
}

void Vm::config_changed() {
    life_.change(limits(), rdtsc());
    killer_.configure(node_->ticks(config_->test_kill_us), config_->test_kill_seed);
}

void Vm::end_with_guest() {
    ends_with_guest_ = true;
    life_.change(limits(), rdtsc());
}

LifeLimits Vm::limits() const {
    const VmConfig& config = *config_;
    const Node& node = *node_;
    const bool goes_on = !ends_with_guest_;
    return {
        .watch = {node.ticks(config.hang_ms * us_per_ms), node.ticks(config.start_ms * us_per_ms),
                  file_bytes()},
        .restart = {config.restart_limit, config.restart_window_ms, config.vmm_fallback[0] != 0},
        .head_start = node.ticks(head_start_us),
        .poll = node.ticks(poll_us),
        .ticks_per_ms = node.ticks(us_per_ms),
        .standby = config.standby,
        .ends = {goes_on && config.restarts_on_reset, goes_on && config.restarts_on_crash,
                 config.keeps_frozen}};
}

Failure Vm::start() {
    // Its modules may be others now.
    if (!life_.is_active()) life_.change(limits(), rdtsc());
    return life_.start(rdtsc());
}

Failure Vm::destroy() {
    const Failure f = life_.destroy();
    killer_.stop();
    return f;
}

Failure Vm::reset() {
    const Failure f = destroy();
    return f.is_set() ? f : start();
}

// What a device holds cannot be copied.
Failure Vm::refuse_with_devices() const {
    Failure f;
    if (config_->devices.count != 0)
        f.set(FailureKind::wrong_state, "it has devices of the node, whose state cannot be saved");
    return f;
}

Failure Vm::save() {
    const Failure f = refuse_with_devices();
    return f.is_set() ? f : life_.save();
}

void Vm::devices_told() {
    life_.wake();
    if (guest_.control != nullptr) devices_.look(guest_, to_.requests);
}

Failure Vm::restore() {
    if (const Failure f = refuse_with_devices(); f.is_set()) return f;
    if (!checkpoint_.is_taken()) {
        Failure f;
        f.set(FailureKind::wrong_state, "it was not saved");
        return f;
    }
    restored_ = checkpoint_.taken_at();
    first_sequence_ = checkpoint_.sequence();
    return life_.restore(rdtsc());
}

Failure Vm::press_power_button() {
    Failure f;
    if (life_.state() != VmState::running)
        f.set(FailureKind::wrong_state, "it is not running");
    else if (life_.is_suspended())
        f.set(FailureKind::wrong_state, "it is suspended; resume it first");
    if (f.is_set()) return f;
    guest_.control->power_presses.store(++power_presses_);
    (void)signal(to_.requests, 1);
    return f;
}

Failure Vm::forget() {
    Failure f;
    if (life_.task() == Task::save || life_.task() == Task::restore)
        f.set(FailureKind::busy, "something else is under way");
    else
        checkpoint_.drop();
    return f;
}

Failure Vm::adopt(const Holdings& holdings, std::byte* block, const saved::Header& header) {
    Failure f = forget();
    if (!f.is_set())
        checkpoint_.adopt(holdings, block,
                          (std::uint64_t{Checkpoint::pages_before_ram(
                               static_cast<unsigned>(config_->cpus.count))} *
                           page_size) +
                              (config_->memory_mib << 20),
                          header.snapshot, header.sequence, header.features);
    return f;
}

// Of several vCPUs: the exit that has waited longest is the one that counts; when a VMM's thread has died of a fault,
// of those that it had.
void Vm::look_at_cpus(VmSample& s) {
    std::uint64_t oldest = no_deadline;
    s.at_rest = true;
    const std::optional<unsigned> faulted =
        s.vmm_dead && guest_.cpus() > 1 ? vmm_[active_].faulted() : std::nullopt;
    s.cpu = faulted.value_or(0);
    s.suspects = 0;
    for (unsigned i = 0; i < guest_.cpus(); ++i) {
        GuestCpu& cpu = guest_.cpu(i);
        const Result<VcpuStatus> v = query_vcpu(cpu.vcpu);
        if (!v || v->dead) s.guest_dead = true;
        if (!v) continue;
        // What a policy has in hand, no VMM owes.
        const bool is_elsewhere = policies_.has_exit(*v), owes = v->pending && !is_elsewhere;
        s.in_service |= v->in_service && !is_elsewhere;
        s.at_rest &= v->stopped && !v->pending;
        const std::uint64_t exit = v->pending ? v->sequence : 0;
        if (exit != cpu.last_pending) {
            cpu.last_pending = exit;
            cpu.pending_since = s.now;
        }
        if (is_elsewhere) policies_.exit_waits(*v, i, cpu.pending_since);
        if (i == 0 && v->sequence > 1) guest_.needs_files = false;
        if (faulted && guest_.leader(i) != *faulted) continue;
        ++s.suspects;
        const bool counts = owes && cpu.pending_since < oldest;
        if (i != faulted.value_or(0) && !counts) continue;
        if (counts) oldest = cpu.pending_since;
        s.cpu = i;
        s.sequence = v->sequence;
        s.pending = owes;
        s.waited = v->waited;
    }
}

void Vm::look() {
    VmSample s;
    s.now = rdtsc();
    if (guest_.control != nullptr && guest_.first.vcpu != no_slot) {
        s.vmm_dead = active_ != no_place && vmm_[active_].is_dead();
        look_at_cpus(s);
        s.outcome = guest_.control->outcome.load();
        s.phase = guest_.control->phase.load();
        s.placed = guest_.control->placed.load();
        if (s.phase == VmmPhase::serving && active_ != no_place && !s.vmm_dead)
            vmm_[active_].serve_further();
    }
    policies_.look(s.now);
    life_.look(s);
    // Not before: a guest may wait for its next VMM.
    if (guest_.control != nullptr) devices_.look(guest_, to_.requests);
    tell_progress(s.now);
    if (life_.state() != VmState::running)
        killer_.stop();
    else if (killer_.next() == no_deadline)
        killer_.schedule(s.now);
    if (s.now >= killer_.next()) {
        life_.kill_for_test();
        killer_.schedule(rdtsc());
    }
}

void Vm::tell_progress(std::uint64_t now) {
    const bool starts = life_.state() == VmState::starting;
    if (starts && now >= tells_at_)
        log("margay: guest {} starts: {} of {} KiB of its files are in place\n", config_->name,
            placed() >> 10, file_bytes() >> 10);
    if (!starts)
        tells_at_ = no_deadline;
    else if (now >= tells_at_ || tells_at_ == no_deadline)
        tells_at_ = now + node_->ticks(tell_us);
}

std::uint64_t Vm::next_look() const {
    return std::min({life_.next_look(), policies_.next_look(), killer_.next(), tells_at_,
                     devices_.next_look()});
}

std::uint64_t Vm::exits() const {
    if (guest_.control == nullptr) return exits_;
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < guest_.cpus(); ++i)
        if (const Result<VcpuStatus> v = query_vcpu(guest_.cpu(i).vcpu); v) sum += v->sequence;
    return sum;
}

unsigned Vm::counted_cpus() const {
    if (guest_.control == nullptr) return 0;
    unsigned n = 0;
    while (n < guest_.cpus() && guest_.cpu(n).vcpu != no_slot) ++n;
    return n;
}

CpuExits Vm::cpu_exits(unsigned number) const {
    CpuExits found;
    if (number >= counted_cpus()) return found;
    const GuestCpu& cpu = guest_.cpu(number);
    found.core = cpu.core;
    for (unsigned c = 0; c < exit_classes; c += counted_at_once) {
        const Result<ExitCounts> some = count_exits(cpu.vcpu, c);
        if (!some) break;  // it has just ended
        for (unsigned i = 0; i < counted_at_once && c + i < exit_classes; ++i)
            found.of[c + i] = {some->of[i].exits, node_->nanoseconds(some->of[i].ticks)};
    }
    if (const Result<KernelExitCounts> own = count_kernel_exits(cpu.vcpu); own)
        for (unsigned k = 0; k < kernel_exits; ++k) found.by_kernel[k] = own->of[k];
    return found;
}

std::uint64_t Vm::rolled_back() const {
    return guest_.control == nullptr ? rolled_back_ : guest_.control->rolled_back;
}

bool Vm::uses(std::string_view module) const {
    const VmConfig& c = *config_;
    bool any = false;
    for (const char* name : {c.kernel, c.initrd, c.vmm, c.vmm_fallback}) any |= module == name;
    if (life_.is_active()) any |= module == life_.vmm();
    any |= policies_.uses(module);
    for (const VmmProcess& p : vmm_) any |= p.is_loaded() && module == p.module();
    return any;
}

// --- hands

bool Vm::begin_guest(bool restored, Failure& why) {
    for (unsigned i = 0; i < config_->cpus.count; ++i)
        if (core_of(*config_, i, node_->info().cores) >= node_->info().cores)
            return refuse(why,
                          config_->cpus.is_listed != 0 ? "the node has no such core (cpus)"
                                                       : "the node has no such core (core)",
                          Status::bad_argument);
    if (node_->info().virtualization == 0)
        return refuse(why, "this machine has no SVM, or its firmware disables it",
                      Status::not_supported);
    CpuModel model;
    (void)parse_cpu_model(config_->cpu, model);
    const CpuFeatures here = cpu_features_of(raw::cpuid);
    if (const CpuFeatures missing = model.required & ~here; missing != 0) {
        why.set(FailureKind::failed, "this node's processor has no {} (cpu)",
                first_cpu_feature(missing));
        return false;
    }
    guest_.begin(*node_, *config_, to_.node_event, to_.bit, to_.requests);
    guest_is_made_ = false;
    devices_.begin(*node_, *to_.devices, *config_, to_.holder);
    guest_.features = restored ? checkpoint_.features() : here & ~model.hidden;
    guest_.needs_files = !restored;
    power_presses_ = 0;
    if (!restored) restored_ = first_sequence_ = 0;
    resumed_ = 0;
    if (!restored) epoch_ = read_clock(init_slot::ports);
    return true;
}

Piece Vm::guest_piece(Failure& why) {
    if (guest_is_made_) {
        const Piece p = devices_.create_piece(guest_, why);
        guest_.control->functions = devices_.count();
        return p;
    }
    const Status s = guest_.create_piece(guest_is_made_);
    if (s != Status::ok) {
        (void)refuse(why, guest_.why, s);
        return Piece::failed;
    }
    return guest_is_made_ && config_->devices.count == 0 ? Piece::done : Piece::more;
}

bool Vm::start_guest(Failure& why) {
    const Status s = guest_.start(first_sequence_);
    if (s == Status::ok) policies_.guest_begins(guest_);
    return s == Status::ok || refuse(why, guest_.why, s);
}

void Vm::drop(unsigned& place) {
    if (place != no_place) vmm_[place].release();
    place = no_place;
}

void Vm::stop_guest() {
    if (guest_.control != nullptr && guest_.first.vcpu != no_slot) {
        exits_ = exits();
        rolled_back_ = rolled_back();
    }
    policies_.guest_ends();
    for (const unsigned place : {next_, retired_, active_})
        if (place != no_place) vmm_[place].kill();
    (void)suspend_vcpu();
}

Piece Vm::drop_piece() {
    for (unsigned* const place : {&next_, &retired_, &active_}) {
        if (*place == no_place) continue;
        if (vmm_[*place].release_piece()) *place = no_place;
        return Piece::more;
    }
    if (!policies_.drop_piece()) return Piece::more;
    if (const Piece p = devices_.release_piece(); p != Piece::done) return p;
    if (devices_.keeps_memory()) guest_.abandon();
    if (!guest_.release_piece()) return Piece::more;
    // What was typed for this guest is not for the next one; how much of it the guest has taken, only its
    // device state knows.
    to_.terminal.here->input.release(to_.terminal.here->input.head());
    // Nor is what its VMMs have made of the ring: the console looks at it.
    (void)signal(to_.console_event, to_.terminal.bit);
    return Piece::done;
}

void Vm::begin_load(const char* module) {
    next_ = 0;
    while (next_ == active_ || next_ == retired_) ++next_;
    vmm_[next_].begin(*node_, *config_, module, guest_, devices_, to_);
}

Piece Vm::load_piece(Failure& why) {
    bool done;
    const Status s = vmm_[next_].load_piece(done);
    if (s != Status::ok) {
        (void)refuse(why, vmm_[next_].why(), s);
        return Piece::failed;
    }
    return done ? Piece::done : Piece::more;
}

bool Vm::take_over(Failure& why) {
    drop(retired_);
    reported_ = 0;
    retired_ = active_;
    active_ = next_;
    next_ = no_place;
    guest_.control->placed.store(0);
    // The guest goes on once: no VMM after the first one may take it for later.
    if (restored_ != 0 && resumed_ == 0) resumed_ = rdtsc();
    const Status s = vmm_[active_].serve(guest_, {epoch_, life_.restarts(), restored_, resumed_});
    if (s != Status::ok) return refuse(why, vmm_[active_].why(), s);
    // The one before may not have known what the button is.
    if (guest_.control->power_presses_seen.load() != power_presses_) (void)signal(to_.requests, 1);
    return true;
}

void Vm::take_back() {
    drop(active_);
    active_ = retired_;
    retired_ = no_place;
    guest_.control->phase.store(VmmPhase::serving);
    (void)vmm_[active_].bind(guest_);
}

void Vm::unbind() {
    guest_.each_cpu([](const GuestCpu& cpu) { (void)portal_ctl(cpu.portal, PortalOp::unbind); });
}

void Vm::kill() { vmm_[active_].kill(); }

void Vm::bury(const char* cause, std::uint64_t died_at) {
    while (bury_piece(cause, died_at) == Piece::more) {}
}

Piece Vm::bury_piece(const char* cause, std::uint64_t died_at) {
    if (retired_ == no_place) return Piece::done;
    if (cause[0] != 0 && reported_ < report_parts) {
        report_dead_vmm(config_->name, vmm_[retired_], guest_.cpu(cpu_of_exit(died_at)),
                        number_of_exit(died_at), cause, reported_++);
        return Piece::more;
    }
    if (!vmm_[retired_].release_piece()) return Piece::more;
    drop(retired_);
    return Piece::done;
}

void Vm::freeze(const char* cause, std::uint64_t died_at, const char* reason) {
    drop(next_);
    drop(retired_);
    if (active_ != no_place && cause[0] != 0)
        for (unsigned part = 0; part < report_parts; ++part)
            report_dead_vmm(config_->name, vmm_[active_], guest_.cpu(cpu_of_exit(died_at)),
                            number_of_exit(died_at), cause, part);
    drop(active_);
    const GuestCpu& cpu = guest_.cpu(cpu_of_exit(died_at));
    const Result<VcpuStatus> v = query_vcpu(cpu.vcpu);
    report_frozen(config_->name, cpu, v ? v->sequence : 0, reason);
}

bool Vm::suspend_vcpu() {
    bool well = true;
    guest_.each_cpu(
        [&](const GuestCpu& cpu) { well &= vcpu_ctl(cpu.vcpu, VcpuOp::suspend) == Status::ok; });
    return well;
}
bool Vm::resume_vcpu() {
    bool well = true;
    guest_.each_cpu(
        [&](const GuestCpu& cpu) { well &= vcpu_ctl(cpu.vcpu, VcpuOp::resume) == Status::ok; });
    return well;
}

bool Vm::begin_copy(bool out, Failure& why) {
    return out ? checkpoint_.begin_save(*node_, guest_, why)
               : checkpoint_.begin_restore(*node_, guest_, why);
}

Piece Vm::copy_piece(Failure& why) { return checkpoint_.copy_piece(why); }

void Vm::read_reason(char (&to)[104]) {
    to[0] = 0;
    if (guest_.control == nullptr) return;
    copy_text(to, guest_.control->reason.copy().c_str());
}

void Vm::say_begins_anew(const char* reason) {
    log("margay: guest {} ended after {} exits and is started anew: {}\n", config_->name, exits(),
        reason);
}

void Vm::say_ended(const char* reason, bool well) {
    const char* name = config_->name;
    if (!well) return log("margay: guest {} failed: {}\n", name, reason);
    log("margay: guest {} powered off after {} exits\n", name, exits());
    if (life_.restarts() != 0)
        log("margay: guest {} had {} VMMs die under it; {} exits were rolled back\n", name,
            life_.restarts(), rolled_back());
}

}  // namespace margay::init
