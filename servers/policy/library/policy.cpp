#include "servers/policy/library/policy.hpp"

#include "libipc/start.hpp"

namespace margay::policy {

namespace {

PolicyPage& page() { return *reinterpret_cast<PolicyPage*>(policy_page_address); }

void tell(PolicyPhase phase) {
    page().phase.store(phase);
    if (const StartupItem* supervisor = find_startup_item("supervisor"))
        (void)signal(supervisor->slot, supervisor->value);
}

}  // namespace

std::string_view options() {
    const auto* text = reinterpret_cast<const char*>(policy_options_address);
    std::size_t n = 0;
    while (n < max_policy_options && text[n] != 0) ++n;
    return {text, n};
}

unsigned cpus() {
    const StartupItem* item = find_startup_item("vcpus");
    return item == nullptr ? 1 : static_cast<unsigned>(item->value);
}

void want(ExitClass c, std::uint64_t groups) { page().wanted[static_cast<unsigned>(c)] = groups; }

void report(std::string_view text) { page().report.write(text); }

std::atomic<std::uint64_t>& figure(unsigned index, std::string_view name) {
    PolicyFigure& f = page().figure[index];
    f.name.write(name);
    return f.value;
}

void refuse(std::string_view why) {
    report(why);
    tell(PolicyPhase::refused);
    fail("it was refused");
}

Exit exit_of(const Received& r) {
    const Message& m = r.message;
    return {static_cast<ExitClass>(m.label & 0xff),
            m.label >> 8,
            static_cast<unsigned>(r.badge),
            m.words[0],
            m.words[1],
            m.words[2],
            m.words[3],
            m.words[4],
            m.words[5],
            *reinterpret_cast<VcpuState*>(policy_states_address + r.badge * page_size)};
}

void get_ready() {
    open_startup_log();
    tell(PolicyPhase::ready);
}

}  // namespace margay::policy
