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
                   both != 0 && !f.is_set() && p.state != PolicyState::failed) {
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
        if (p.state == PolicyState::none || p.number != number) continue;
        pending = p.state == PolicyState::loading || p.state == PolicyState::starting ||
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
            p.state == PolicyState::attached)
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

bool Policies::has_exit(const VcpuStatus& v) const {
    if (!v.pending || v.forwarded) return false;
    for (const Policy& p : policies_)
        if (p.state == PolicyState::attached &&
            (p.spec.classes >> static_cast<unsigned>(v.exit_class) & 1) != 0)
            return true;
    return false;
}

void Policies::exit_waits(const VcpuStatus& v, std::uint64_t since) {
    for (Policy& p : policies_) {
        if (p.state != PolicyState::attached ||
            (p.spec.classes >> static_cast<unsigned>(v.exit_class) & 1) == 0)
            continue;
        if (p.sample.exit != 0 && p.since <= since) continue;
        p.since = since;
        p.sample.exit = v.sequence;
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
        if (phase != PolicyPhase::ready) return;
        if (p.process.take_exits() != Status::ok) return end(p, p.process.why());
        p.state = PolicyState::attached;
        const std::uint64_t limit = node_->ticks(config_->hang_ms * us_per_ms);
        p.watch.begin({limit, limit, 0}, now);
    }
    p.sample.now = now;
    if (p.watch.look(p.sample) != WatchFinding::well) end(p, "it hangs");
    p.sample = WatchSample{};
}

void Policies::look(std::uint64_t now) {
    for (Policy& p : policies_) look(p, now);
}

Work Policies::work() const {
    Work most_urgent = Work::none;
    for (const Policy& p : policies_) {
        if (p.state == PolicyState::loading) most_urgent = std::max(most_urgent, Work::waited);
        if (p.state == PolicyState::ending) most_urgent = std::max(most_urgent, Work::ending);
    }
    return most_urgent;
}

void Policies::do_piece() {
    const Work most_urgent = work();
    for (Policy& p : policies_) {
        if (p.state == PolicyState::loading && most_urgent == Work::waited) {
            bool done = false;
            Status s = p.process.load_piece(done);
            if (s == Status::ok && done) {
                s = p.process.start();
                p.state = PolicyState::starting;
            }
            if (s == Status::ok) return;
            char text[sizeof(p.reason)];
            write(text, "{}: {}", p.process.why(), to_text(s));
            return end(p, text);
        }
        if (p.state == PolicyState::ending) {
            if (p.process.release_piece()) ended(p);
            return;
        }
    }
}

bool Policies::uses(std::string_view module) const {
    for (const Policy& p : policies_)
        if (p.state != PolicyState::none && module == p.spec.module) return true;
    return false;
}

}  // namespace margay::init
