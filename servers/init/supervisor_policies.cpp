// What operators ask of policies.
#include "servers/init/supervisor.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

namespace {

constexpr const char* to_text(PolicyState s) {
    switch (s) {
    case PolicyState::none: break;
    case PolicyState::off: return "off";
    case PolicyState::loading:
    case PolicyState::starting:
    case PolicyState::binding: return "starting";
    case PolicyState::attached: return "attached";
    case PolicyState::ending: return "ending";
    case PolicyState::failed: return "failed";
    }
    return "";
}

}  // namespace

unsigned Supervisor::policy_count() { return count_ * Policies::most; }

PolicyInfo Supervisor::policy(unsigned index) {
    PolicyInfo info;
    const unsigned vm = index / Policies::most;
    if (!is_there(vm)) return info;
    const Policies::Policy& p = places_[vm]->vm.policies()[index % Policies::most];
    if (p.state == PolicyState::none || p.leaves) return info;
    info.vm = places_[vm]->config.name;
    info.module = p.spec.module;
    info.state = to_text(p.state);
    info.classes = p.spec.classes;
    info.options = p.spec.options;
    info.page = p.process.page();
    if (p.reason[0] != 0)
        copy_text(info.report, p.reason);
    else if (info.page != nullptr)
        copy_text(info.report, info.page->report.copy().c_str());
    return info;
}

Outcome Supervisor::attach_policy(const Command& command, unsigned vm) {
    VmPlace& place = *places_[vm];
    Policies& policies = place.vm.policies();
    PolicySpec spec;
    failure_ = parse_policy(command[Parameter::rows], spec);
    if (!failure_.is_set() && node_.module(spec.module) == nullptr)
        failure_.set(FailureKind::not_found, "there is no module '{}'", spec.module);
    if (!failure_.is_set()) failure_ = policies.may_attach(spec);
    if (failure_.is_set()) return {false, failure_.text, false, 0, failure_.kind};
    ConsoleChannels& channels = services_.channels();
    Text<31> name;
    print(name, "{}/{}", place.config.name, spec.module);
    const Result<Channel> lines = channels.add({ChannelKind::log, name.view()});
    if (!lines) {
        failure_.set(FailureKind::no_memory, "no console for a policy: {}",
                     to_text(lines.status()));
        return {false, failure_.text, false, 0, failure_.kind};
    }
    policies.attach(spec, {*lines, services_.console_event(), event_, place.vm.event_mask()});
    return policy_outcome(vm, policy_ticket | policies.number());
}

Outcome Supervisor::policy_outcome(unsigned vm, unsigned ticket) {
    bool pending = false;
    failure_ = places_[vm]->vm.policies().outcome(ticket & ~policy_ticket, pending);
    if (failure_.is_set()) return {false, failure_.text, false, 0, failure_.kind};
    return {true, "", pending, ticket};
}

Failure Supervisor::detach_policy(const Command& command, unsigned vm) {
    const Failure f = places_[vm]->vm.policies().detach(command[Parameter::module]);
    give_back_channels(*places_[vm]);
    return f;
}

// Of policies that have left.
void Supervisor::give_back_channels(VmPlace& place) {
    place.vm.policies().give_back_channels(false,
                                           [this](Channel& c) { services_.channels().remove(c); });
}

}  // namespace margay::init
