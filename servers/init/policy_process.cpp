#include "servers/init/policy_process.hpp"

#include <cstring>
#include <new>

#include "libipc/mapping.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

namespace {

// Of give(): from here on, one vCPU with each.
constexpr unsigned first_cpu_step = 4;

template <typename F>
void each_class(ExitClasses classes, F f) {
    for (unsigned c = 0; c < exit_classes; ++c)
        if ((classes >> c & 1) != 0) f(static_cast<ExitClass>(c));
}

}  // namespace

void PolicyProcess::begin(Node& node, const PolicySpec& spec, const char* vm, const Guest& guest,
                          const PolicyConnections& to) {
    node_ = &node;
    spec_ = &spec;
    guest_ = &guest;
    to_ = &to;
    given_ = bound_ = 0;
    page_ = nullptr;
    why_ = "";
    ProgramOptions options;
    options.module = spec.module;
    options.name = vm;
    options.core = guest.first.core;
    options.mappings += guest.cpus();
    options.priority = vm_priority;
    program_.emplace(node, options);
}

// The one that both write, and the one with its options.
Status PolicyProcess::give_pages() {
    Holdings& holdings = program_->holdings();
    const Result<Extent> shared = holdings.allocate(page_size), text = holdings.allocate(page_size);
    if (!shared) return shared.status();
    if (!text) return text.status();
    const Result<std::uint64_t> page = holdings.map_here(*shared, map_right::read_write),
                                options = holdings.map_here(*text, map_right::read_write);
    if (!page) return page.status();
    if (!options) return options.status();
    std::memset(reinterpret_cast<void*>(*page), 0, page_size);
    page_ = new (reinterpret_cast<void*>(*page)) PolicyPage{};
    std::memset(reinterpret_cast<void*>(*options), 0, page_size);
    std::memcpy(reinterpret_cast<void*>(*options), spec_->options, sizeof(spec_->options));
    const Status s =
        program_->give_mapping("policy", *shared, policy_page_address, map_right::read_write);
    return s == Status::ok
               ? program_->give_mapping("options", *text, policy_options_address, map_right::read)
               : s;
}

// Its state page, a portal for its exits, and where it is the first on its core a thread.
Status PolicyProcess::give_cpu(unsigned number) {
    Program& p = *program_;
    Cpu& own = cpus_[number];
    own.holdings.use(*node_);
    own.is_used = true;
    const GuestCpu& cpu = guest_->cpu(number);
    const unsigned leader = guest_->leader(number);
    Status s = p.map_at(cpu.state_page, policy_states_address + number * page_size,
                        spec_->with_state ? map_right::read_write : map_right::read);
    if (s == Status::ok && number == 0) {
        s = p.make_thread(to_->node_event, to_->bit, true);
        own.thread = p.thread();
    } else if (s == Status::ok && leader == number) {
        s = p.make_further_thread(own.holdings, own.thread, cpu.core, number, to_->node_event,
                                  to_->bit);
    } else {
        own.thread = cpus_[leader].thread;
    }
    if (s != Status::ok) return s;
    const Result<Extent> storage = own.holdings.allocate(storage_small);
    if (!storage) return storage.status();
    const Slot portal = own.holdings.new_slot();
    s = margay::create_portal(portal, storage->slot, own.thread,
                              init_slot::first_core + static_cast<Slot>(cpu.core));
    own.portal = portal;
    if (s == Status::ok && number != 0) {
        own.portal = own.holdings.new_slot();
        s = copy(portal, init_slot::domain, own.portal, right::all, number);
    }
    return s;
}

// One thing at a time.
Status PolicyProcess::give(bool& done) {
    Program& p = *program_;
    switch (given_++) {
    case 0: return give_pages();
    case 1:
        return p.give_channel("log", to_->log.memory, policy_log_address, to_->console_event,
                              to_->log.bit);
    case 2:
        p.give_value("vcpus", guest_->cpus());
        return p.give_capability("supervisor", to_->node_event, right::signal, to_->bit, to_->bit);
    case 3: return cpus_.make(p.holdings(), guest_->cpus());
    default: {
        const unsigned number = given_ - 1 - first_cpu_step;
        done = number + 1 >= guest_->cpus();
        return give_cpu(number);
    }
    }
}

Status PolicyProcess::load_piece(bool& done) {
    done = false;
    if (!program_->is_loaded()) {
        const Status s = program_->load_piece();
        return s == Status::ok ? s : fail_with(program_->why(), s);
    }
    const Status s = give(done);
    return s == Status::ok ? s : fail_with("it cannot be given what it needs", s);
}

Status PolicyProcess::start() {
    const Status s = program_->start();
    cpus_[0].is_started = s == Status::ok;
    return s == Status::ok ? s : fail_with("it cannot be started", s);
}

Status PolicyProcess::start_further() {
    Status s = Status::ok;
    for (unsigned i = 1; i < cpus_.size() && s == Status::ok; ++i) {
        if (guest_->leader(i) != i) continue;
        s = thread_ctl(cpus_[i].thread, ThreadOp::start);
        cpus_[i].is_started = s == Status::ok;
    }
    return s == Status::ok ? s : fail_with("it cannot be started", s);
}

Status PolicyProcess::bind_piece(bool& done) {
    const Cpu& cpu = cpus_[bound_];
    const Slot vcpu = guest_->cpu(bound_).vcpu;
    Status s = Status::ok;
    each_class(spec_->classes, [&](ExitClass c) {
        // Read once: it may change it meanwhile.
        const std::uint64_t wanted =
            __atomic_load_n(&page_->wanted[static_cast<unsigned>(c)], __ATOMIC_RELAXED);
        if (s == Status::ok)
            s = vcpu_ctl(vcpu, VcpuOp::bind_policy, static_cast<std::uint64_t>(c), cpu.portal,
                         wanted & state::valid_groups);
    });
    done = ++bound_ == cpus_.size();
    return s == Status::ok ? s : fail_with("exits cannot be given to it", s);
}

// The exit that one of them has in hand goes to the base, as those of a policy without a handler do.
void PolicyProcess::end() {
    for (const Cpu& cpu : cpus_)
        if (cpu.thread != no_slot) (void)thread_ctl(cpu.thread, ThreadOp::kill);
}

bool PolicyProcess::is_dead() const {
    for (const Cpu& cpu : cpus_)
        if (cpu.is_started && read_register(cpu.thread, ThreadRegister::rip).status() == Status::ok)
            return true;
    return false;
}

bool PolicyProcess::release_piece() {
    if (!program_) return true;
    for (Cpu& cpu : cpus_) {
        // A portal and its copy, a thread and its stack.
        if (cpu.is_used && !cpu.holdings.release_piece()) return false;
        cpu.is_used = false;
    }
    cpus_.clear();  // it lies in what the program holds
    page_ = nullptr;
    if (!program_->release_piece()) return false;
    program_.reset();
    return true;
}

}  // namespace margay::init
