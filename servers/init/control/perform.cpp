#include "servers/init/control/perform.hpp"

#include "servers/init/manifest_keys.hpp"

#include "support/format.hpp"

namespace margay::init {

namespace {

// By name, or by number if no VM has that name. vm_count() if there is none.
unsigned find_vm(Operations& operations, std::string_view wanted) {
    const unsigned count = operations.vm_count();
    for (unsigned i = 0; i < count; ++i)
        if (!wanted.empty() && wanted == operations.vm_info(i).name) return i;
    unsigned number = 0;
    for (char c : wanted) {
        if (c < '0' || c > '9' || number > count) return count;
        number = number * 10 + static_cast<unsigned>(c - '0');
    }
    if (number < 1 || number > count || operations.vm_info(number - 1).name[0] == 0) return count;
    return number - 1;
}

void describe(Operations& operations, const Command& command, Performed& result) {
    ErrorText& to = result.message;
    if (command.action == Action::shutdown && result.vm == operations.vm_count())
        return print(to, "The node is being turned off");
    if (command.action == Action::define) return print(to, "The VM is defined");
    if (command.action == Action::undefine)
        return print(to, "VM '{}' is no longer defined", command[Parameter::vm]);
    if (command.action == Action::module_remove)
        return print(to, "Module '{}' is removed", command[Parameter::module]);
    if (command.action == Action::module_put) {
        const Arrival& a = result.arrival;
        if (a.is_whole)
            return print(to, "Module '{}' is there, {} bytes", command[Parameter::module], a.next);
        return print(to, "Module '{}' is awaited from byte {} on", command[Parameter::module],
                     a.next);
    }
    const VmInfo vm = operations.vm_info(result.vm);
    const Arrival& a = result.arrival;
    switch (command.action) {
    case Action::autostart:
        return print(to, "VM '{}' is {}started with the node", vm.name,
                     command[Parameter::state] == "on" ? "" : "not ");
    case Action::set: {
        const ManifestKey* key = find_vm_key(command[Parameter::key]);
        const bool later = key != nullptr && change_of(*key) != ManifestKey::Change::now;
        return print(to, "VM '{}': {} is now {}{}", vm.name, command[Parameter::key], command.value,
                     later ? "; it takes effect at the next start" : "");
    }
    case Action::console: return print(to, "Connected to VM '{}'", vm.name);
    case Action::policy_attach: return print(to, "VM '{}' has the policy", vm.name);
    case Action::policy_detach:
        return print(to, "Policy '{}' is detached from VM '{}'", command[Parameter::module],
                     vm.name);
    case Action::destroy: return print(to, "VM '{}' destroyed", vm.name);
    case Action::reset: return print(to, "VM '{}' was reset", vm.name);
    case Action::restore: return print(to, "VM '{}' restored", vm.name);
    case Action::resume: return print(to, "VM '{}' resumed", vm.name);
    case Action::save:
        return print(to, "VM '{}' saved, {} KiB", vm.name, (vm.saved_bytes + 1023) >> 10);
    case Action::saved_drop: return print(to, "What was saved of VM '{}' is gone", vm.name);
    case Action::saved_get: return print(to, "VM '{}' is sent from page {} on", vm.name, a.next);
    case Action::saved_put: return print(to, "VM '{}' is awaited from page {} on", vm.name, a.next);
    case Action::shutdown: return print(to, "The power button of VM '{}' was pressed", vm.name);
    case Action::start: return print(to, "VM '{}' started", vm.name);
    case Action::suspend: return print(to, "VM '{}' suspended", vm.name);
    case Action::vmm_restart:
    case Action::vmm_swap:
        return print(to, "VMM of VM '{}' is now '{}', blackout {} us", vm.name, vm.vmm,
                     vm.blackout_ns / 1000);
    default: return;
    }
}

void conclude(Operations& operations, const Command& command, const Outcome& outcome,
              Performed& result) {
    result.pending = outcome.pending;
    result.ticket = outcome.ticket;
    if (outcome.pending) return;
    result.good = outcome.good;
    result.kind = outcome.kind;
    result.arrival = outcome.arrival;
    if (!outcome.good) return result.error.set(outcome.error);
    describe(operations, command, result);
}

}  // namespace

void go_on(Operations& operations, const Command& command, Performed& result) {
    if (result.pending)
        conclude(operations, command, operations.outcome(result.vm, result.ticket), result);
}

void perform(Operations& operations, const Command& command, Performed& result) {
    result = Performed{};
    result.vm = operations.vm_count();
    if (const std::string_view name = command[Parameter::vm]; !name.empty()) {
        result.vm = find_vm(operations, name);
        result.kind = FailureKind::not_found;
        if (result.vm == operations.vm_count())
            return print(result.error, "there is no VM '{}'; try list", name);
    }
    if (!only_shows(command.action))
        return conclude(operations, command, operations.execute(command, result.vm), result);
    if (const std::string_view topic = command[Parameter::topic];
        !topic.empty() && find_command(topic) == nullptr) {
        result.kind = FailureKind::usage;
        return print(result.error, "unknown command '{}'; try help", topic);
    }
    if (command.action == Action::exits && operations.counted_cpus(result.vm) == 0) {
        result.kind = FailureKind::wrong_state;
        return print(result.error, "VM '{}' is off; its exits are counted while it is on",
                     operations.vm_info(result.vm).name);
    }
    result.good = true;
}

}  // namespace margay::init
