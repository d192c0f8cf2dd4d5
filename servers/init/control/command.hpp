// The commands of the node console: one table for the parser of typed lines, the parser of requests
// and the help. docs/manual/node-console.md explains each one.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "servers/init/manifest.hpp"
#include "servers/init/short_text.hpp"

namespace margay::init {

enum class Action : std::uint8_t {
    autostart,
    console,
    define,
    destroy,
    devices,
    dominfo,
    exits,
    help,
    list,
    module_put,
    module_remove,
    modules,
    nodeinfo,
    policies,
    policy_attach,
    policy_detach,
    reset,
    restore,
    resume,
    save,
    saved_drop,
    saved_get,
    saved_put,
    set,
    shutdown,
    start,
    suspend,
    undefine,
    vmm_restart,
    vmm_swap,
    count
};

// Such commands change nothing, and may be carried out any number of times.
constexpr bool only_shows(Action a) {
    return a == Action::devices || a == Action::dominfo || a == Action::exits ||
           a == Action::help || a == Action::list || a == Action::modules ||
           a == Action::nodeinfo || a == Action::policies;
}

// What a command is given. The name is also the key in a request.
enum class Parameter : std::uint8_t {
    vm,
    module,
    topic,
    config,
    bytes,
    crc,
    replace,
    timeout,
    page,
    snapshot,
    state,
    key,
    value,
    rows,
    count
};

// What guests have to power off before the node does, in seconds.
constexpr unsigned default_shutdown_seconds = 30, max_shutdown_seconds = 86400;

// Of a VM's definition.
constexpr unsigned max_definition_bytes = 8 << 10;

// Classes of a policy's exits, and what it is told.
constexpr unsigned max_policy_rows = 512;

struct ParameterSpec {
    std::string_view name;   // as the key of a request
    std::string_view shown;  // in help
    bool optional;
};

constexpr unsigned max_parameters = 4;

struct CommandSpec {
    Action action;
    std::string_view name;
    std::span<const Parameter> parameters;  // in the order in which they are typed
    std::string_view help;                  // one line
    bool takes_none = false;                // it need not be given any of them
};

// By name. commands()[static_cast<unsigned>(action)] is that of the action.
std::span<const CommandSpec> commands();
const ParameterSpec& spec_of(Parameter p);
const CommandSpec* find_command(std::string_view name);

// A name of a VM, a module or a command; or of a key of the manifest, which may be longer.
constexpr unsigned max_key = 32;
static_assert(max_key >= max_name);
using Word = Text<max_key - 1>;
using ErrorText = Text<160>;

struct Command {
    Action action = Action::help;
    Word arguments[static_cast<unsigned>(Parameter::count)];  // empty: not given
    // Parameter::config, value and rows, which are no names: they stay where whoever read the command keeps them.
    std::string_view config, value, rows;
    bool has_value = false;  // it may be empty

    std::string_view operator[](Parameter p) const {
        if (p == Parameter::config) return config;
        if (p == Parameter::value) return value;
        if (p == Parameter::rows) return rows;
        return arguments[static_cast<unsigned>(p)].view();
    }
};

// Gives the command an argument; false with the reason if it is too long to name anything.
bool set_argument(Command& c, Parameter p, std::string_view value, ErrorText& error);
// Finds the command; false with the reason if there is none of that name.
bool set_action(Command& c, std::string_view name, ErrorText& error);
// Every parameter that the command needs is there and none that it does not take.
bool check_arguments(const Command& c, ErrorText& error);

enum class LineResult : std::uint8_t { command, empty, error };

// A line that was typed: words separated by blanks. There are no quotes: no name has a blank.
LineResult parse_line(std::string_view line, Command& c, ErrorText& error);

}  // namespace margay::init
