#include "servers/init/policies.hpp"

#include <algorithm>

#include "libipc/log.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

void Policies::use(Node& node, const VmConfig& config) {
    node_ = &node;
    config_ = &config;
}

Failure Policies::may_attach(const PolicySpec& spec) const {
    Failure f;
    unsigned places = 0;
    for (const Policy& p : policies_) {
        if (p.state == PolicyState::none) {
            ++places;
        } else if (p.leaves) {
            // Its rows are free already.
        } else if (same(p.spec.module, spec.module)) {
            f.set(FailureKind::wrong_state, "it has that policy already; detach it first");
        } else if (const ExitClasses both = p.spec.classes & spec.classes;
                   both != 0 && !f.is_set()) {
            const auto c = static_cast<ExitClass>(__builtin_ctz(both));
            f.set(FailureKind::wrong_state, "policy '{}' has exits of class {} already",
                  p.spec.module, to_text(c));
        }
    }
    if (!f.is_set() && places == 0)
        f.set(FailureKind::no_memory, "a VM has {} policies at most", most);
    return f;
}

void Policies::attach(const PolicySpec& spec, const PolicyConnections& to) {
    Policy* p = policies_;
    while (p->state != PolicyState::none) ++p;
    p->spec = spec;
    p->to = to;
    p->leaves = false;
    p->number = ++number_;
    p->reason[0] = 0;
    p->state = PolicyState::off;
    if (guest_ != nullptr) begin(*p);
}

Failure Policies::detach(std::string_view module) {
    Failure f;
    for (Policy& p : policies_) {
        if (p.state == PolicyState::none || module != p.spec.module || p.leaves) continue;
        p.leaves = true;
        if (p.state == PolicyState::off || p.state == PolicyState::failed)
            p.state = PolicyState::none;
        else if (p.state != PolicyState::ending)
            end(p, "");
        return f;
    }
    f.set(FailureKind::not_found, "it has no such policy");
    return f;
}

Failure Policies::outcome(unsigned number, bool& pending) const {
    Failure f;
    pending = false;
    for (const Policy& p : policies_) {
        if (p.state == PolicyState::none || p.number != number || p.leaves) continue;
        pending = p.state == PolicyState::loading || p.state == PolicyState::starting ||
                  p.state == PolicyState::binding ||
                  (p.state == PolicyState::ending && p.reason[0] != 0);
        if (p.state == PolicyState::failed)
            f.set(FailureKind::failed, "policy '{}': {}", p.spec.module, p.reason);
        return f;
    }
    f.set(FailureKind::failed, "it was detached");
    return f;
}

void Policies::begin(Policy& p) {
    p.process.begin(*node_, p.spec, p.spec.module, *guest_, p.to);
    p.reason[0] = 0;
    p.state = PolicyState::loading;
}

void Policies::end(Policy& p, const char* reason) {
    p.process.end();
    p.watch.end();
    p.sample = WatchSample{};
    copy_text(p.reason, reason);
    p.state = PolicyState::ending;
    if (reason[0] != 0)
        log("margay: guest {}: policy {} is detached: {}\n", config_->name, p.spec.module, reason);
}

void Policies::ended(Policy& p) {
    p.state = p.leaves            ? PolicyState::none
              : p.reason[0] != 0  ? PolicyState::failed
              : guest_ != nullptr ? PolicyState::loading
                                  : PolicyState::off;
    // A guest that begins anew found it ending.
    if (p.state == PolicyState::loading) begin(p);
}

void Policies::guest_begins(const Guest& guest) {
    guest_ = &guest;
    for (Policy& p : policies_)
        if (p.state == PolicyState::off || p.state == PolicyState::failed) begin(p);
}

void Policies::guest_ends() {
    guest_ = nullptr;
    for (Policy& p : policies_)
        if (p.state == PolicyState::loading || p.state == PolicyState::starting ||
            p.state == PolicyState::binding || p.state == PolicyState::attached)
            end(p, "");
}

bool Policies::drop_piece() {
    for (Policy& p : policies_) {
        if (!p.process.is_there()) continue;
        if (p.process.release_piece()) ended(p);
        return false;
    }
    return true;
}

// That an exit of such a class is not forwarded: what the base had before, and what has come to it without a policy's doing,
// the kernel calls forwarded as well.
bool Policies::has_exit(const VcpuStatus& v) const {
    if (!v.pending || v.forwarded) return false;
    for (const Policy& p : policies_)
        if (p.state == PolicyState::attached &&
            (p.spec.classes >> static_cast<unsigned>(v.exit_class) & 1) != 0)
            return true;
    return false;
}

void Policies::exit_waits(const VcpuStatus& v, unsigned cpu, std::uint64_t since) {
    for (Policy& p : policies_) {
        if (p.state != PolicyState::attached ||
            (p.spec.classes >> static_cast<unsigned>(v.exit_class) & 1) == 0)
            continue;
        if (p.sample.exit != 0 && p.since <= since) continue;
        p.since = since;
        p.sample.exit = exit_name(cpu, v.sequence);
        p.sample.waited = v.waited;
    }
}

void Policies::look(Policy& p, std::uint64_t now) {
    if (p.state != PolicyState::starting && p.state != PolicyState::attached) return;
    const PolicyPhase phase = p.process.page()->phase.load();
    if (p.state == PolicyState::starting && phase == PolicyPhase::refused) {
        const auto why = p.process.page()->report.copy();
        return end(p, why.view().empty() ? "it refuses" : why.c_str());
    }
    if (p.process.is_dead()) return end(p, "it has ended by a fault");
    if (p.state == PolicyState::starting) {
        if (phase == PolicyPhase::ready) {
            if (p.process.start_further() != Status::ok) return end(p, p.process.why());
            p.state = PolicyState::binding;
            return;
        }
        p.sample.starts = true;
    }
    p.sample.now = now;
    const WatchFinding found = p.watch.look(p.sample);
    p.sample = WatchSample{};
    if (found != WatchFinding::well)
        end(p, found == WatchFinding::start_hangs ? "it does not become ready" : "it hangs");
}

void Policies::watch(Policy& p) {
    p.sample = WatchSample{};
    p.watch.begin({node_->ticks(config_->hang_ms * us_per_ms),
                   node_->ticks(config_->start_ms * us_per_ms), 0},
                  rdtsc());
}

std::uint64_t Policies::next_look() const {
    std::uint64_t next = no_deadline;
    for (const Policy& p : policies_)
        if (p.state == PolicyState::starting || p.state == PolicyState::attached)
            next = std::min(next, p.watch.next_look());
    return next;
}

void Policies::look(std::uint64_t now) {
    for (Policy& p : policies_) look(p, now);
}

Work Policies::work() const {
    Work most_urgent = Work::none;
    for (const Policy& p : policies_) {
        if (p.state == PolicyState::loading || p.state == PolicyState::binding)
            most_urgent = std::max(most_urgent, Work::waited);
        if (p.state == PolicyState::ending) most_urgent = std::max(most_urgent, Work::ending);
    }
    return most_urgent;
}

void Policies::do_piece() {
    // First: the rows of one that goes are free for the next.
    for (Policy& p : policies_) {
        if (p.state != PolicyState::ending) continue;
        if (p.process.release_piece()) ended(p);
        return;
    }
    for (Policy& p : policies_) {
        if (p.state != PolicyState::loading && p.state != PolicyState::binding) continue;
        bool done = false;
        Status s = p.state == PolicyState::loading ? p.process.load_piece(done)
                                                   : p.process.bind_piece(done);
        if (s == Status::ok && done && p.state == PolicyState::loading) {
            s = p.process.start();
            p.state = PolicyState::starting;
            watch(p);
        } else if (s == Status::ok && done) {
            p.state = PolicyState::attached;
            watch(p);
        }
        if (s == Status::ok) return;
        char text[sizeof(p.reason)];
        write(text, "{}: {}", p.process.why(), to_text(s));
        return end(p, text);
    }
}

bool Policies::uses(std::string_view module) const {
    for (const Policy& p : policies_)
        if (p.state != PolicyState::none && module == p.spec.module) return true;
    return false;
}

}  // namespace margay::init
