#include "servers/init/control/node_console.hpp"

#include "servers/init/control/device_text.hpp"
#include "support/format.hpp"

namespace margay::init {

template <typename... Arguments>
void NodeConsole::say(std::string_view format, const Arguments&... arguments) {
    print(
        [this](char c) {
            if (c == '\n') output_('\r');
            output_(c);
        },
        format, arguments...);
}

// Left-aligned, as virsh has it, with a gap behind it.
void NodeConsole::cell(std::string_view text, unsigned width) {
    // A name may hold what would disturb a terminal.
    for (char c : text) output_(static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c);
    for (std::size_t i = text.size(); i < width; ++i) output_(' ');
    say("  ");
}

void NodeConsole::cell(std::uint64_t number, unsigned width) {
    Text<24> text;
    print(text, "{}", number);
    cell(text.view(), width);
}

void NodeConsole::rule(unsigned width) {
    for (unsigned i = 0; i < width; ++i) output_('-');
    say("\n");
}

void NodeConsole::begin() { say("Margay node console; help lists the commands\n{}", prompt); }

void NodeConsole::type(char c) {
    switch (editor_.type(c)) {
    case LineEditor::Event::none: return;
    case LineEditor::Event::line: run(editor_.line()); break;
    case LineEditor::Event::cancelled: break;
    }
    if (!is_busy()) say("{}", prompt);
}

void NodeConsole::look() {
    if (!performed_.pending) return;
    go_on(operations_, command_, performed_);
    if (performed_.pending) return;
    show();
    say("{}", prompt);
}

void NodeConsole::run(std::string_view line) {
    ErrorText error;
    switch (parse_line(line, command_, error)) {
    case LineResult::empty: return;
    case LineResult::error: return say("error: {}\n", error.view());
    case LineResult::command: break;
    }
    perform(operations_, command_, performed_);
    if (!performed_.pending) show();
}

void NodeConsole::show() {
    if (!performed_.good) return say("error: {}\n", performed_.error.view());
    switch (command_.action) {
    case Action::list: return list();
    case Action::dominfo: return dominfo(operations_.vm_info(performed_.vm));
    case Action::help: return help(command_[Parameter::topic]);
    case Action::modules: return modules();
    case Action::devices: return devices();
    case Action::policies: return policies();
    case Action::nodeinfo: return nodeinfo(operations_.node_info());
    case Action::exits: return exits(performed_.vm);
    case Action::console: return;  // the console server says what it shows
    default: return say("{}\n", performed_.message.view());
    }
}

// Commands first, then what the command takes.
std::string_view NodeConsole::completion(std::string_view before, unsigned n) {
    unsigned words = 0;
    std::string_view first;
    for (std::size_t at = 0; at < before.size(); ++at) {
        if (before[at] == ' ' || (at != 0 && before[at - 1] != ' ')) continue;
        std::size_t length = 0;
        while (at + length < before.size() && before[at + length] != ' ') ++length;
        if (words++ == 0) first = {before.data() + at, length};
    }
    const auto command = [n] {
        return n < commands().size() ? commands()[n].name : std::string_view{};
    };
    if (words == 0) return command();
    const CommandSpec* spec = find_command(first);
    if (spec == nullptr || words > spec->parameters.size()) return {};
    switch (spec->parameters[words - 1]) {
    case Parameter::topic: return command();
    case Parameter::vm:
        for (unsigned i = 0; i < operations_.vm_count(); ++i)
            if (const char* name = operations_.vm_info(i).name; name[0] != 0 && n-- == 0)
                return name;
        return {};
    case Parameter::module:
        for (unsigned i = 0; i < operations_.module_count(); ++i)
            if (const char* name = operations_.module(i).name; name[0] != 0 && n-- == 0)
                return name;
        return {};
    default: return {};
    }
}

void NodeConsole::list() {
    struct Column {
        const char* title;
        unsigned width;
    };
    static constexpr Column columns[] = {{"Id", 2},   {"Name", 12},   {"State", 10},
                                         {"Core", 4}, {"Memory", 10}, {"Exits", 10},
                                         {"VMM", 12}, {"Restarts", 8}};
    unsigned width = 0;
    for (const Column& c : columns) {
        cell(c.title, c.width);
        width += c.width + 2;
    }
    say("\n");
    rule(width);
    for (unsigned i = 0; i < operations_.vm_count(); ++i) {
        const VmInfo vm = operations_.vm_info(i);
        if (vm.name[0] == 0) continue;
        Text<24> memory;
        print(memory, "{} MiB", vm.memory_mib);
        cell(id_of(i), columns[0].width);
        cell(vm.name, columns[1].width);
        cell(to_text(vm.phase), columns[2].width);
        cell(vm.core, columns[3].width);
        cell(memory.view(), columns[4].width);
        cell(vm.exits, columns[5].width);
        cell(vm.vmm, columns[6].width);
        cell(vm.restarts, columns[7].width);
        say("\n");
    }
}

void NodeConsole::dominfo(const VmInfo& vm) {
    say("Id:             {}\n", id_of(performed_.vm));
    say("Name:           ");
    cell(vm.name, 0);
    say("\nState:          {}\n", to_text(vm.phase));
    if (vm.reason[0] != 0) {
        say("Reason:         ");
        cell(vm.reason, 0);
        say("\n");
    }
    say("Core:           {}\n", vm.core);
    say("Memory:         {} MiB\n", vm.memory_mib);
    say("Exits:          {}\n", vm.exits);
    say("VMM:            {}\n", vm.vmm);
    say("Restarts:       {}\n", vm.restarts);
    say("Rolled back:    {}\n", vm.rolled_back);
    if (vm.blackout_ns == 0)
        say("Last blackout:  -\n");
    else
        say("Last blackout:  {} us\n", vm.blackout_ns / 1000);
    if (vm.saved)
        say("Saved state:    {} KiB\n", (vm.saved_bytes + 1023) >> 10);
    else
        say("Saved state:    -\n");
    if (vm.file_bytes != 0)
        say("Its start:      {} of {} KiB of its files are in place\n", vm.placed_bytes >> 10,
            vm.file_bytes >> 10);
}

void NodeConsole::nodeinfo(const NodeInfo& node) {
    say("Cores:          {}\n", node.cores);
    say("Free memory:    {} KiB\n", node.memory_free >> 10);
    say("Used memory:    {} KiB in {} extents\n", node.memory_used >> 10, node.memory_extents);
    say("Slots in use:   {}\n", node.slots);
    say("Windows in use: {}\n", node.windows);
    say("Console deaths: {}\n", node.console_deaths);
    say("Pmem deaths:    {}\n", node.pmem_deaths);
    say("Pci deaths:     {}\n", node.pci_deaths);
    for (unsigned core = 0; core < node.cores && node.device_messages != nullptr; ++core) {
        const std::uint64_t messages = node.device_messages(core);
        if (messages != 0) say("Core {}: {} messages of devices\n", core, messages);
    }
}

// Of all vCPUs together.
void NodeConsole::exits(unsigned vm) {
    CpuExits sum;
    for (unsigned i = 0; i < operations_.counted_cpus(vm); ++i) {
        const CpuExits cpu = operations_.cpu_exits(vm, i);
        for (unsigned c = 0; c < exit_classes; ++c) {
            sum.of[c].exits += cpu.of[c].exits;
            sum.of[c].ns += cpu.of[c].ns;
        }
        for (unsigned k = 0; k < kernel_exits; ++k) sum.by_kernel[k] += cpu.by_kernel[k];
    }
    cell("Class", 23);
    cell("Exits", 12);
    cell("Time (us)", 12);
    cell("Each (ns)", 0);
    say("\n");
    rule(64);
    for (unsigned c = 0; c < exit_classes; ++c) {
        const CpuExits::Class& of = sum.of[c];
        if (of.exits == 0) continue;
        cell(to_text(static_cast<ExitClass>(c)), 23);
        cell(of.exits, 12);
        cell(of.ns / 1000, 12);
        cell(of.ns / of.exits, 0);
        say("\n");
    }
    for (unsigned k = 0; k < kernel_exits; ++k) {
        if (sum.by_kernel[k] == 0) continue;
        Text<24> name;
        print(name, "kernel: {}", to_text(static_cast<KernelExit>(k)));
        cell(name.view(), 23);
        cell(sum.by_kernel[k], 12);
        cell("-", 12);
        cell("-", 0);
        say("\n");
    }
}

void NodeConsole::help(std::string_view topic) {
    for (const CommandSpec& spec : commands()) {
        if (!topic.empty() && topic != spec.name) continue;
        Text<40> usage;
        print(usage, "{}", spec.name);
        for (const Parameter p : spec.parameters)
            print(usage, spec_of(p).optional || spec.takes_none ? " [{}]" : " {}",
                  spec_of(p).shown);
        say("  ");
        cell(usage.view(), topic.empty() ? 20 : 0);
        say("{}\n", spec.help);
    }
    if (topic.empty()) say("  A VM is given by its name or its Id.\n");
}

void NodeConsole::devices() {
    if (operations_.device_count() == 0) return say("No devices are known.\n");
    cell("Address", 12);
    cell("Id", 9);
    cell("Kind", 13);
    cell("Holder", 12);
    cell("Group", 5);
    cell("Reset", 5);
    cell("IOMMU", 8);
    cell("For guests", 0);
    say("\n");
    rule(80);
    for (unsigned i = 0; i < operations_.device_count(); ++i) {
        const DeviceInfo d = operations_.device(i);
        Text<16> address, id;
        write_address(address, d.requester);
        write_hex(id, d.vendor, 4);
        id(':');
        write_hex(id, d.device, 4);
        cell(address.view(), 12);
        cell(id.view(), 9);
        cell(kind_of(d.class_code), 13);
        cell(d.holder[0] != 0 ? d.holder : "-", 12);
        cell(d.group, 5);
        cell(to_text(d.reset), 5);
        cell(d.iommu[0] == 0 ? "none" : d.may_raise_any ? "DMA only" : d.iommu, 8);
        const auto why = why_not(d);
        cell(why.empty() ? "yes" : why.view(), 0);
        say("\n");
    }
}

void NodeConsole::policies() {
    bool any = false;
    for (unsigned i = 0; i < operations_.policy_count(); ++i) {
        const PolicyInfo p = operations_.policy(i);
        if (p.vm[0] == 0) continue;
        any = true;
        say("{}: {} is {}", p.vm, p.module, p.state);
        if (p.report[0] != 0) say(": {}", p.report);
        say("\n");
        for (unsigned f = 0; p.page != nullptr && f < policy_figures; ++f) {
            const auto name = p.page->figure[f].name.copy();
            const std::uint64_t value = p.page->figure[f].value.load();
            if (!name.view().empty() && value != 0) say("    {} {}\n", value, name.view());
        }
    }
    if (!any) say("none\n");
}

void NodeConsole::modules() {
    cell("Name", 23);
    cell("Size", 10);
    cell("From", 12);
    cell("In use", 0);
    say("\n");
    rule(64);
    for (unsigned i = 0; i < operations_.module_count(); ++i) {
        const ModuleInfo m = operations_.module(i);
        if (m.name[0] == 0) continue;
        Text<24> size;
        print(size, "{} KiB", (m.bytes + 1023) >> 10);
        cell(m.name, 23);
        cell(size.view(), 10);
        cell(!m.was_put ? "boot" : m.received == m.bytes ? "control line" : "arriving", 12);
        cell(m.used_by.empty() ? "-" : m.used_by, 0);
        say("\n");
    }
}

}  // namespace margay::init
