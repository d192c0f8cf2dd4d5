#include "servers/init/control/command.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "support/format.hpp"

namespace margay::init {

namespace {

constexpr Parameter of_vm[] = {Parameter::vm};
constexpr Parameter of_vm_and_module[] = {Parameter::vm, Parameter::module};
constexpr Parameter of_module[] = {Parameter::module};
constexpr Parameter of_put[] = {Parameter::module, Parameter::bytes, Parameter::crc,
                                Parameter::replace};
constexpr Parameter of_get[] = {Parameter::vm, Parameter::page, Parameter::snapshot};
constexpr Parameter of_saved[] = {Parameter::vm, Parameter::snapshot};
constexpr Parameter of_vm_and_state[] = {Parameter::vm, Parameter::state};
constexpr Parameter of_vm_and_key[] = {Parameter::vm, Parameter::key, Parameter::value};
constexpr Parameter of_policy[] = {Parameter::vm, Parameter::rows};
constexpr Parameter of_config[] = {Parameter::config};
constexpr Parameter of_topic[] = {Parameter::topic};
constexpr Parameter of_vm_or_node[] = {Parameter::vm, Parameter::timeout};

constexpr CommandSpec table[] = {
    {Action::autostart, "autostart", of_vm_and_state,
     "start the VM with the node, or not: on or off"},
    {Action::console, "console", of_vm,
     "show the VM's terminal here; Ctrl-] n goes on to the next"},
    {Action::define, "define", of_config,
     "define a VM by its JSON, the keys of the manifest; start starts it"},
    {Action::destroy, "destroy", of_vm, "turn the VM off at once; its guest is not asked"},
    {Action::devices,
     "devices",
     {},
     "list the machine's PCI devices, and which can be given to a VM"},
    {Action::dominfo, "dominfo", of_vm, "show everything that is known about a VM"},
    {Action::exits, "exits", of_vm, "show how often a VM's guest exited, why, and for how long"},
    {Action::help, "help", of_topic, "list the commands, or explain one"},
    {Action::list, "list", {}, "list the VMs"},
    {Action::module_put, "module-put", of_put,
     "announce a module, as ctl module put does, which then sends it"},
    {Action::module_remove, "module-remove", of_module, "give up a module that was put"},
    {Action::modules, "modules", {}, "list the modules; vmm-swap takes one that is a VMM"},
    {Action::nodeinfo, "nodeinfo", {}, "show what of the node is in use"},
    {Action::policies, "policies", {}, "list what handles exits before the VMMs do"},
    {Action::policy_attach, "policy-attach", of_policy,
     "let a policy have exits of these classes before the VMM; see policies"},
    {Action::policy_detach, "policy-detach", of_vm_and_module, "let the VMM alone have them again"},
    {Action::reset, "reset", of_vm, "start the VM's guest anew, as its reset button would"},
    {Action::restore, "restore", of_vm,
     "bring the VM back to where it was saved, as often as you like"},
    {Action::resume, "resume", of_vm, "let a suspended VM run again"},
    {Action::save, "save", of_vm, "copy the VM as it is now to the node's memory; it goes on"},
    {Action::saved_drop, "saved-drop", of_vm, "give up what was saved of the VM"},
    {Action::saved_get, "saved-get", of_get,
     "begin to send what was saved, as ctl save VM FILE does"},
    {Action::saved_put, "saved-put", of_saved, "begin to take what ctl restore VM FILE sends"},
    {Action::set, "set", of_vm_and_key, "give a key of the VM's definition another value"},
    {Action::shutdown, "shutdown", of_vm_or_node,
     "press the VM's power button; without VM, turn the node off", true},
    {Action::start, "start", of_vm, "start a VM that is shut off"},
    {Action::suspend, "suspend", of_vm, "stop the VM's virtual CPU until resume"},
    {Action::undefine, "undefine", of_vm, "forget a VM that is off, and what was saved of it"},
    {Action::vmm_restart, "vmm-restart", of_vm,
     "replace the VM's VMM by a new one of the same build"},
    {Action::vmm_swap, "vmm-swap", of_vm_and_module,
     "replace the VM's VMM by that of another module"},
};

constexpr ParameterSpec parameter_table[] = {
    {"vm", "VM", false},          {"module", "MODULE", false},
    {"topic", "COMMAND", true},   {"config", "JSON", false},
    {"bytes", "BYTES", false},    {"crc", "CRC", false},
    {"replace", "REPLACE", true}, {"timeout", "--timeout SECONDS", true},
    {"page", "PAGE", false},      {"snapshot", "SNAPSHOT", false},
    {"state", "on|off", false},   {"key", "KEY", false},
    {"value", "VALUE", false},    {"rows", "CLASS,... MODULE [OPTIONS]", false},
};

constexpr bool table_is_ordered() {
    for (unsigned i = 0; i < std::size(table); ++i) {
        if (table[i].action != static_cast<Action>(i)) return false;
        if (table[i].parameters.size() > max_parameters) return false;
        if (i != 0 && table[i - 1].name >= table[i].name) return false;
    }
    return true;
}
static_assert(std::size(table) == static_cast<unsigned>(Action::count) && table_is_ordered());
static_assert(std::size(parameter_table) == static_cast<unsigned>(Parameter::count));

bool is_blank(char c) { return c == ' ' || c == '\t'; }

// The next word of the line, taken from its front; empty at the end.
std::string_view take_word(std::string_view& line) {
    while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
    std::size_t length = 0;
    while (length < line.size() && !is_blank(line[length])) ++length;
    const std::string_view word = line.substr(0, length);
    line.remove_prefix(length);
    return word;
}

std::string_view trimmed(std::string_view s) {
    while (!s.empty() && is_blank(s.front())) s.remove_prefix(1);
    while (!s.empty() && is_blank(s.back())) s.remove_suffix(1);
    return s;
}

// --timeout SECONDS and --now, which stand anywhere and belong to no place among the others. Not set: there is none
// of them at the front of the line.
std::optional<std::string_view> take_timeout(std::string_view& line) {
    std::string_view rest = line;
    const std::string_view option = take_word(rest);
    if (option == "--now") {
        line = rest;
        return "0";
    }
    if (option != "--timeout") return {};
    const std::string_view seconds = take_word(rest);
    line = rest;
    return seconds;
}

bool is_timeout(std::string_view value) {
    unsigned seconds = 0;
    for (const char c : value) {
        if (c < '0' || c > '9' || seconds > max_shutdown_seconds) return false;
        seconds = seconds * 10 + static_cast<unsigned>(c - '0');
    }
    return !value.empty() && seconds <= max_shutdown_seconds;
}

std::string_view shortened(std::string_view s) { return s.substr(0, max_name); }

}  // namespace

std::span<const CommandSpec> commands() { return table; }

const ParameterSpec& spec_of(Parameter p) { return parameter_table[static_cast<unsigned>(p)]; }

const CommandSpec* find_command(std::string_view name) {
    for (const CommandSpec& c : table)
        if (c.name == name) return &c;
    return nullptr;
}

bool set_argument(Command& c, Parameter p, std::string_view value, ErrorText& error) {
    if (p == Parameter::config) {
        if (value.size() > max_definition_bytes) {
            print(error, "a definition has at most {} bytes", max_definition_bytes);
            return false;
        }
        c.config = value;
        return true;
    }
    if (p == Parameter::rows) {
        if (value.size() >= max_policy_rows) {
            print(error, "classes and options have at most {} bytes", max_policy_rows - 1);
            return false;
        }
        c.rows = value;
        return true;
    }
    if (p == Parameter::value) {
        if (value.size() >= max_append) {
            print(error, "a value has at most {} bytes", max_append - 1);
            return false;
        }
        c.value = value;
        c.has_value = true;
        return true;
    }
    if (value.size() >= (p == Parameter::key ? max_key : max_name)) {
        print(error, "'{}...' is too long for a name", shortened(value));
        return false;
    }
    if (p == Parameter::timeout && !is_timeout(value)) {
        print(error, "a timeout is 0 to {} seconds, not '{}'", max_shutdown_seconds, value);
        return false;
    }
    c.arguments[static_cast<unsigned>(p)].set(value);
    return true;
}

bool set_action(Command& c, std::string_view name, ErrorText& error) {
    const CommandSpec* spec = find_command(name);
    if (spec == nullptr) {
        print(error, "unknown command '{}'; try help", shortened(name));
        return false;
    }
    c.action = spec->action;
    return true;
}

bool check_arguments(const Command& c, ErrorText& error) {
    const CommandSpec& spec = table[static_cast<unsigned>(c.action)];
    for (unsigned i = 0; i < static_cast<unsigned>(Parameter::count); ++i) {
        const auto p = static_cast<Parameter>(i);
        bool taken = false;
        for (const Parameter q : spec.parameters) taken |= p == q;
        const bool is_given = p == Parameter::value ? c.has_value : !c[p].empty();
        if (taken && !is_given && !spec_of(p).optional && !spec.takes_none) {
            print(error, "{} needs {}", spec.name, spec_of(p).shown);
            return false;
        }
        if (!taken && is_given) {
            print(error, "{} takes no {}", spec.name, spec_of(p).shown);
            return false;
        }
    }
    return true;
}

LineResult parse_line(std::string_view line, Command& c, ErrorText& error) {
    c = Command{};
    const std::string_view name = take_word(line);
    if (name.empty()) return LineResult::empty;
    if (!set_action(c, name, error)) return LineResult::error;
    const CommandSpec& spec = table[static_cast<unsigned>(c.action)];
    for (const Parameter p : spec.parameters) {
        if (std::ranges::find(spec.parameters, Parameter::timeout) != spec.parameters.end())
            if (const auto seconds = take_timeout(line))
                if (!set_argument(c, Parameter::timeout, *seconds, error)) return LineResult::error;
        if (p == Parameter::timeout) continue;
        // A definition is all that is left, and so is a value.
        const bool takes_all =
            p == Parameter::config || p == Parameter::value || p == Parameter::rows;
        const std::string_view word =
            takes_all ? trimmed(std::exchange(line, {})) : take_word(line);
        if (p == Parameter::value && word.empty()) break;
        if (!set_argument(c, p, word, error)) return LineResult::error;
    }
    if (const std::string_view extra = take_word(line); !extra.empty()) {
        print(error, "{}: '{}' is too much; try help {}", spec.name, shortened(extra), spec.name);
        return LineResult::error;
    }
    return check_arguments(c, error) ? LineResult::command : LineResult::error;
}

}  // namespace margay::init
