#include "servers/init/supervisor.hpp"

#include <algorithm>
#include <new>

#include "libipc/log.hpp"
#include "servers/init/manifest_keys.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

namespace {

// VMs share these bits of the node's Event; the others are node_bit's.
constexpr unsigned vm_bits = 32;
// Two VMs that have one place after each other have different ones.
constexpr unsigned tickets_per_vm = 1 << 16;
// How much longer than a piece of work the pause after it is if nobody waits for the work.
constexpr std::uint64_t leisure = 3;

constexpr std::uint64_t us_per_second = 1'000'000;
// What VMMs signal beyond so many times waits for as long: they can do it without end.
constexpr unsigned wakes_per_ms = 16;
constexpr std::uint64_t pause_us = 200;

// It lets a guest begin.
bool is_beginning(Action a) {
    return a == Action::start || a == Action::reset || a == Action::restore;
}

Outcome failed(const Failure& why) { return {false, why.text, false, 0, why.kind}; }

// False: it is none, or too large.
bool parse_number(std::string_view text, unsigned base, std::uint64_t& n) {
    n = 0;
    for (const char c : text) {
        const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                               : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10)
                                                      : 16;
        if (digit >= base || n >> 56 != 0) return false;
        n = n * base + digit;
    }
    return !text.empty();
}

}  // namespace

Supervisor::Supervisor(Node& node, Services& services, const Manifest& manifest)
    : NodeModuleRoom{node},
      node_{node},
      services_{services},
      event_{services.node_event()},
      budget_{node.ticks(us_per_second / 1000), wakes_per_ms, node.ticks(pause_us)},
      modules_{*this, node.ticks(1000)} {
    saved_.use(node);
    const Result<Slot> pause = node.create_event();
    if (!pause) fail("there is no memory for an Event", pause.status());
    pause_ = *pause;
    for (unsigned i = 0; i < manifest.vm_count; ++i) {
        const VmConfig& c = manifest.vms[i];
        if (const Failure f = add(c); f.is_set())
            log("margay: guest {} cannot be defined: {}\n", c.name, f.text);
    }
}

void Supervisor::start_all() {
    each([](VmPlace& p) {
        if (!p.config.autostart) return;
        log("margay: starting guest {}: {} MiB on core {}\n", p.config.name, p.config.memory_mib,
            p.config.core);
        (void)p.vm.start();
    });
}

unsigned Supervisor::find(std::string_view name) const {
    unsigned i = 0;
    while (i < count_ && (places_[i] == nullptr || name != places_[i]->config.name)) ++i;
    return i;
}

Failure Supervisor::add(const VmConfig& config) {
    Failure f;
    if (find(config.name) != count_) {
        f.set(FailureKind::wrong_state, "there is a VM of that name already");
        return f;
    }
    unsigned index = 0;
    while (index < max_places && places_[index] != nullptr) ++index;
    const auto lacks = [&f](const char* what, Status s) {
        f.set(FailureKind::no_memory, "{}: {}", what, to_text(s));
        return f;
    };
    if (index == max_places) return lacks("the node has 254 VMs", Status::no_memory);
    const Result<Extent> memory = node_.allocate(sizeof(VmPlace));
    if (!memory) return lacks("no memory for a VM", memory.status());
    const Result<std::uint64_t> at = node_.map_here(*memory, map_right::read_write);
    if (!at) {
        node_.release(*memory);
        return lacks("no room for a VM", at.status());
    }
    auto& place = *new (reinterpret_cast<void*>(*at)) VmPlace;
    place.config = config;
    place.memory = *memory;
    place.at = *at;
    place.holdings.use(node_);
    Status s = place.holdings.create_event(place.requests);
    ConsoleChannels& channels = services_.channels();
    if (s == Status::ok) {
        const Result<Channel> terminal =
            channels.add({ChannelKind::terminal, place.config.name,
                          config.attached ? 0 : channel_flag::detached, place.requests});
        s = terminal.status();
        if (terminal) place.terminal = *terminal;
    }
    if (s == Status::ok) {
        const Result<Channel> lines = channels.add({ChannelKind::log, place.config.name});
        s = lines.status();
        if (lines) place.log = *lines;
    }
    if (s != Status::ok) {
        give_back(place);
        return lacks("no console for a VM", s);
    }
    place.vm.configure(node_, place.config,
                       {place.terminal, place.log, services_.console_event(), event_,
                        place.requests, 1ull << index % vm_bits, &services_.devices(),
                        static_cast<std::uint16_t>(definitions_ % 0xffff + 1)},
                       (definitions_ + 1) % 0x7fff * tickets_per_vm);
    place.holder = static_cast<std::uint16_t>(definitions_ % 0xffff + 1);
    ++definitions_;
    places_[index] = &place;
    count_ = std::max(count_, index + 1);
    return f;
}

// The console gives the channels' memory back when it has let go of them.
void Supervisor::give_back(VmPlace& place) {
    place.vm.policies().give_back_channels(true,
                                           [this](Channel& c) { services_.channels().remove(c); });
    services_.channels().remove(place.terminal);
    services_.channels().remove(place.log);
    place.holdings.release();
    const Extent memory = place.memory;
    const std::uint64_t at = place.at;
    node_.release(memory);
    node_.give_back_window(memory, at);
}

Failure Supervisor::define(std::string_view text) {
    static VmConfig room[2];  // one more than there may be
    static Manifest scratch;
    scratch.vms = room;
    static char wrapped[max_definition_bytes + 32];
    Failure f;
    // As a manifest of one VM: the same keys, limits and messages.
    constexpr std::string_view head = "{\"vms\": [", tail = "]}";
    std::size_t n = 0;
    for (const std::string_view part : {head, text, tail})
        for (const char c : part) wrapped[n++] = c;
    const ManifestError e = parse_manifest({wrapped, n}, scratch);
    if (e.what != nullptr) {
        f.set(FailureKind::usage, "line {}, key \"{}\": {}", e.line, e.key, e.what);
        return f;
    }
    if (scratch.vm_count != 1) {
        f.set(FailureKind::usage, "it must be one VM: {{ \"name\": ... }");
        return f;
    }
    return add(scratch.vms[0]);
}

Failure Supervisor::set(VmPlace& place, std::string_view name, std::string_view value) {
    using Change = ManifestKey::Change;
    Failure f;
    const ManifestKey* key = find_vm_key(name);
    if (key == nullptr) {
        f.set(FailureKind::usage, "a VM has no key '{}'", name);
    } else if (change_of(*key) == Change::never) {
        f.set(FailureKind::usage, "'{}' cannot be changed: define another VM", name);
    } else if (change_of(*key) == Change::when_off && place.vm.life().is_active()) {
        f.set(FailureKind::wrong_state, "'{}' can be changed while the VM is off", name);
    } else if (name == "kernel" && value.empty()) {
        f.set(FailureKind::usage, "a VM must have a kernel");
    } else if (const char* complaint = store_value(*key, value, &place.config)) {
        f.set(FailureKind::usage, "{}: {}", name, complaint);
    } else {
        place.vm.config_changed();
    }
    return f;
}

Failure Supervisor::undefine(unsigned index) {
    VmPlace& place = *places_[index];
    Failure f;
    if (place.vm.life().is_active()) {
        f.set(FailureKind::wrong_state, "it is active; destroy it first");
        return f;
    }
    place.vm.end_rest();
    if (place.vm.life().is_ending()) {
        f.set(FailureKind::busy, "its devices are not back yet");
        return f;
    }
    (void)place.vm.forget();
    saved_.forget(index);
    places_[index] = nullptr;
    give_back(place);
    return f;
}

// Of those with work up to `most`; those with equally urgent work take turns.
Supervisor::Choice Supervisor::most_urgent(Work most) const {
    Choice c;
    for (unsigned k = 1; k <= count_; ++k) {
        const unsigned i = (last_worked_ + k) % count_;
        if (places_[i] == nullptr) continue;
        const Work work = places_[i]->vm.work();
        if (work > c.work && work <= most) c = {work, i};
    }
    return c;
}

std::uint64_t Supervisor::work() {
    Choice c = most_urgent(Work::urgent);
    if (c.work == Work::none) return no_deadline;
    // Else a dead VMM would lie unburied while another VM starts, and be in the way when its successor dies.
    if (c.work != Work::urgent && leisure_is_due_)
        if (const Choice l = most_urgent(Work::leisurely); l.work != Work::none) c = l;
    const std::uint64_t begin = rdtsc();
    if (c.work != Work::urgent && begin < next_piece_) return next_piece_;
    last_worked_ = c.vm;
    places_[c.vm]->vm.do_piece();
    give_back_channels(*places_[c.vm]);
    if (c.work == Work::urgent) return 0;
    leisure_is_due_ = c.work != Work::leisurely;
    // Guests share this core: they get as much of it as this takes, or more if nobody waits.
    const std::uint64_t end = rdtsc(), took = end - begin;
    next_piece_ = end + (c.work == Work::leisurely ? leisure * took : took);
    return next_piece_;
}

std::uint64_t Supervisor::serve(std::uint64_t until) {
    std::uint64_t deadline = std::min({work(), until, modules_.next_look(), saved_.next_look()}),
                  mine = 0;
    if (ending_) deadline = std::min(deadline, end_at_);
    each([&](const VmPlace& p) {
        deadline = std::min(deadline, p.vm.next_look());
        mine |= p.vm.event_mask();
    });
    const bool pauses = rdtsc() < pauses_until_;
    // A deadline that has passed still takes what was signalled.
    const Result<std::uint64_t> signalled =
        pauses ? wait(pause_, std::min(deadline, pauses_until_)) : wait(event_, deadline);
    const std::uint64_t bits = signalled ? *signalled : 0, now = rdtsc();
    if (bits != 0 && (bits & ~mine) == 0) pauses_until_ = budget_.woken(now);
    each([&](VmPlace& p) {
        if ((bits & p.vm.event_mask()) != 0 || now >= p.vm.next_look()) p.vm.look();
    });
    if (now >= modules_.next_look()) modules_.look(now);
    if (now >= saved_.next_look()) saved_.look(now);
    return bits & ~mine;
}

void Supervisor::devices_told() {
    each([](VmPlace& p) { p.vm.devices_told(); });
}

bool Supervisor::any_active() const {
    bool any = false;
    each([&](const VmPlace& p) { any |= p.vm.life().is_active() || p.vm.life().is_ending(); });
    return any;
}

bool Supervisor::all_well() const {
    bool well = true;
    each([&](const VmPlace& p) { well &= p.vm.life().state() != VmState::failed; });
    return well;
}

VmInfo Supervisor::vm_info(unsigned index) {
    VmInfo info;
    if (!is_there(index)) return info;
    const Vm& vm = places_[index]->vm;
    info.name = vm.config().name;
    const VmLife& life = vm.life();
    switch (life.state()) {
    case VmState::shut_off: info.phase = VmPhase::shut_off; break;
    case VmState::starting: info.phase = VmPhase::starting; break;
    case VmState::frozen: info.phase = VmPhase::frozen; break;
    case VmState::failed: info.phase = VmPhase::failed; break;
    case VmState::running:
        info.phase = life.is_suspended() ? VmPhase::suspended
                     : life.service() == Service::serving || life.service() == Service::finishing
                         ? VmPhase::running
                         : VmPhase::restarting;
    }
    info.core = static_cast<unsigned>(vm.config().core);
    info.memory_mib = vm.config().memory_mib;
    info.exits = vm.exits();
    info.vmm = life.vmm();
    info.restarts = life.restarts();
    info.rolled_back = vm.rolled_back();
    info.blackout_ns = vm.blackout_ns();
    info.saved = vm.checkpoint().is_taken();
    info.saved_bytes = vm.checkpoint().bytes();
    if (life.state() == VmState::starting) {
        info.file_bytes = vm.file_bytes();
        info.placed_bytes = vm.placed();
    }
    // What went wrong with an operation was its answer; it says nothing about a VM that runs.
    if (life.state() != VmState::running) copy_text(info.reason, life.reason());
    return info;
}

unsigned Supervisor::counted_cpus(unsigned vm) {
    return is_there(vm) ? places_[vm]->vm.counted_cpus() : 0;
}

CpuExits Supervisor::cpu_exits(unsigned vm, unsigned cpu) {
    return is_there(vm) ? places_[vm]->vm.cpu_exits(cpu) : CpuExits{};
}

// The places of boot modules, then those of modules that were put or are on their way.
unsigned Supervisor::module_count() { return Node::max_modules; }

ModuleInfo Supervisor::module(unsigned index) {
    if (index < Node::max_boot_modules) {
        const Module* m = node_.module_at(index);
        if (m == nullptr) return {};
        return {m->name, m->length, false, m->length, user_of(m->name)};
    }
    const ModuleStore::Entry* e = modules_.entry(index - Node::max_boot_modules);
    if (e == nullptr) return {};
    return {e->name, e->bytes, true, e->next, e->at == nullptr ? user_of(e->name) : ""};
}

std::string_view Supervisor::user_of(std::string_view module) {
    for (const char* own : {"init", "pmem", "console", "pci", "manifest"})
        if (module == own) return "the node";
    for (unsigned i = 0; i < count_; ++i) {
        if (places_[i] == nullptr || !places_[i]->vm.uses(module)) continue;
        places_[i]->vm.end_rest();
        if (places_[i]->vm.uses(module)) return places_[i]->config.name;
    }
    return {};
}

Outcome Supervisor::put_module(const Command& command) {
    Outcome o;
    std::uint64_t bytes = 0, crc = 0;
    const std::string_view replace = command[Parameter::replace];
    if (!parse_number(command[Parameter::bytes], 10, bytes) ||
        !parse_number(command[Parameter::crc], 16, crc) || crc > 0xffff'ffff ||
        (!replace.empty() && replace != "replace"))
        failure_.set(FailureKind::usage,
                     "BYTES is a number, CRC is hexadecimal, and the last word is replace");
    else
        failure_ = modules_.put(command[Parameter::module], bytes, static_cast<std::uint32_t>(crc),
                                !replace.empty(), rdtsc(), o.arrival);
    return failure_.is_set() ? failed(failure_) : o;
}

Outcome Supervisor::transfer_saved(const Command& command, unsigned vm) {
    std::uint64_t page = 0, snapshot = 0;
    const bool gets = command.action == Action::saved_get;
    if (!parse_number(command[Parameter::snapshot], 10, snapshot) ||
        (gets && !parse_number(command[Parameter::page], 10, page))) {
        failure_.set(FailureKind::usage, "PAGE and SNAPSHOT are numbers");
        return failed(failure_);
    }
    return gets ? saved_.get(vm, *places_[vm], page, snapshot) : saved_.put(vm, snapshot);
}

Outcome Supervisor::receive(std::uint32_t transfer, std::uint64_t offset, std::string_view bytes) {
    Outcome o;
    if (saved_.has(transfer))
        return saved_.move(transfer, *places_[saved_.vm_of(transfer)], offset, bytes);
    failure_ = modules_.take(transfer, offset, bytes, rdtsc(), o.arrival);
    return failure_.is_set() ? failed(failure_) : o;
}

unsigned Supervisor::device_count() { return services_.devices().count(); }

// Copied once: the board is not init's alone.
DeviceInfo Supervisor::device(unsigned index) {
    const PciFunction& f = services_.devices().function(index);
    DeviceInfo d;
    d.requester = f.requester;
    d.vendor = f.vendor;
    d.device = f.device;
    d.group = f.group;
    d.class_code = f.class_code;
    d.reset = f.reset;
    d.obstacle = f.obstacle;
    d.iommu = services_.devices().iommu_name();
    d.may_raise_any = !services_.devices().remaps_interrupts();
    d.firmware = services_.devices().firmware_use(f.requester);
    const std::uint16_t holder = services_.devices().holder(index);
    each([&](const VmPlace& p) {
        if (holder != 0 && p.holder == holder) d.holder = p.config.name;
    });
    return d;
}

NodeInfo Supervisor::node_info() {
    NodeInfo info;
    info.cores = node_.info().cores;
    const MemoryUse memory = services_.memory().use();
    info.memory_free = memory.free;
    info.memory_used = memory.used;
    info.memory_extents = memory.extents;
    info.slots = node_.slots_in_use();
    info.windows = node_.windows_in_use();
    info.console_deaths = services_.console_deaths();
    info.pmem_deaths = services_.pmem_deaths();
    info.pci_deaths = services_.devices().deaths();
    info.device_messages = [](unsigned core) -> std::uint64_t {
        const Result<CoreEvents> events = count_events(init_slot::first_core + core);
        return events ? events->device_messages : 0;
    };
    return info;
}

Failure Supervisor::carry_out(const Command& command, Vm& vm) {
    char module[max_name] = {};
    const std::string_view name = command[Parameter::module];
    for (std::size_t i = 0; i < name.size() && i + 1 < sizeof(module); ++i) module[i] = name[i];
    switch (command.action) {
    case Action::start: return vm.start();
    case Action::destroy: return vm.destroy();
    case Action::reset: return vm.reset();
    case Action::suspend: return vm.suspend();
    case Action::resume: return vm.resume();
    case Action::save: return vm.save();
    case Action::saved_drop: return vm.forget();
    case Action::restore: return vm.restore();
    case Action::vmm_restart: return vm.replace_vmm(nullptr);
    case Action::vmm_swap: return vm.replace_vmm(module);
    default: break;
    }
    Failure f;
    f.set(FailureKind::wrong_state, "it cannot be done");
    return f;
}

// What stands still cannot power off: nobody waits for it.
bool Supervisor::is_awaited(const Vm& vm) {
    const VmLife& life = vm.life();
    return life.state() == VmState::starting ||
           (life.state() == VmState::running && !life.is_suspended());
}

Failure Supervisor::shut_down(const Command& command, unsigned vm) {
    Failure f;
    const std::string_view timeout = command[Parameter::timeout];
    if (is_there(vm)) {
        if (timeout.empty()) return places_[vm]->vm.press_power_button();
        f.set(FailureKind::usage,
              "a timeout is for the whole node: leave out the VM, or destroy it");
        return f;
    }
    std::uint64_t seconds = timeout.empty() ? default_shutdown_seconds : 0;
    for (const char c : timeout) seconds = seconds * 10 + static_cast<unsigned>(c - '0');
    if (!ending_)
        each([](VmPlace& p) {
            p.is_asked = false;
            p.vm.end_with_guest();
        });
    ending_ = true;
    is_abrupt_ = seconds == 0;
    end_at_ = rdtsc() + node_.ticks(seconds * us_per_second);
    return f;
}

bool Supervisor::has_ended() {
    if (!ending_) return false;
    const bool late = rdtsc() >= end_at_;
    bool any = false;
    each([&](VmPlace& p) {
        // Whoever destroyed one has his answer when nothing of it is left.
        any |= p.vm.life().is_ending();
        if (!is_awaited(p.vm)) return;
        any = true;
        // One that is still starting is asked when it runs.
        if (!p.is_asked) p.is_asked = !p.vm.press_power_button().is_set();
        if (late && !is_abrupt_)
            log("margay: guest {} did not power off and goes with the node\n", p.config.name);
    });
    return late || !any;
}

Outcome Supervisor::execute(const Command& command, unsigned vm) {
    if (command.action == Action::shutdown) {
        failure_ = shut_down(command, vm);
        return failure_.is_set() ? failed(failure_) : Outcome{};
    }
    if (ending_ && is_beginning(command.action))
        return {false, "the node is being turned off", false, 0, FailureKind::wrong_state};
    if (command.action == Action::define) {
        failure_ = define(command.config);
        return failure_.is_set() ? failed(failure_) : Outcome{};
    }
    if (command.action == Action::module_put) return put_module(command);
    if (command.action == Action::module_remove) {
        failure_ = modules_.remove(command[Parameter::module]);
        return failure_.is_set() ? failed(failure_) : Outcome{};
    }
    if (!is_there(vm)) return {false, "there is no such VM", false, 0, FailureKind::not_found};
    if (command.action == Action::undefine) {
        failure_ = undefine(vm);
        return failure_.is_set() ? failed(failure_) : Outcome{};
    }
    if (command.action == Action::saved_get || command.action == Action::saved_put)
        return transfer_saved(command, vm);
    if (command.action == Action::set) {
        failure_ = set(*places_[vm], command[Parameter::key], command.value);
        return failure_.is_set() ? failed(failure_) : Outcome{};
    }
    if (command.action == Action::autostart) {
        const std::string_view state = command[Parameter::state];
        if (state != "on" && state != "off")
            return {false, "autostart is on or off", false, 0, FailureKind::usage};
        failure_ = set(*places_[vm], "autostart", state == "on" ? "true" : "false");
        return failure_.is_set() ? failed(failure_) : Outcome{};
    }
    if (command.action == Action::console) {
        services_.channels().attach(places_[vm]->terminal);
        return {};
    }
    if (command.action == Action::policy_attach) return attach_policy(command, vm);
    if (command.action == Action::policy_detach) {
        failure_ = detach_policy(command, vm);
        return failure_.is_set() ? failed(failure_) : Outcome{};
    }
    const VmLife& life = places_[vm]->vm.life();
    const unsigned before = life.ticket();
    failure_ = carry_out(command, places_[vm]->vm);
    if (failure_.is_set()) return failed(failure_);
    if (life.ticket() == before) return {};
    return outcome(vm, life.ticket());
}

Outcome Supervisor::outcome(unsigned vm, unsigned ticket) {
    if (!is_there(vm)) return {false, "there is no such VM", false, 0, FailureKind::not_found};
    if ((ticket & policy_ticket) != 0) return policy_outcome(vm, ticket);
    const VmLife& life = places_[vm]->vm.life();
    if (life.ticket() != ticket && life.ousted() == ticket)
        return {false, "it was destroyed", false, 0, FailureKind::failed};
    if (life.ticket() != ticket)
        return {false, "another command took its place", false, 0, FailureKind::busy};
    if (life.task() != Task::none) return {true, "", true, ticket};
    failure_ = life.ended();
    return failure_.is_set() ? failed(failure_) : Outcome{};
}

}  // namespace margay::init
