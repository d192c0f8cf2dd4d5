// The keys of a manifest: what the parser takes. docs/manifest.schema.json says the same to editors and people;
// the test tools.node_manifest_schema compares them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "servers/init/manifest.hpp"
#include "support/cpu_features.hpp"

namespace margay::init {

struct ManifestKey {
    enum class Kind : std::uint8_t {
        vms,      // the list of VMs
        text,     // room for `bytes` characters, the zero byte included; 0: taken and forgotten
        number,   // a whole one, from lowest to highest
        choice,   // one of two words; the member is a bool
        flag,     // true or false; the member is a bool
        devices,  // a list of PCI functions; the member is DeviceChoices
        cpus,  // a number of vCPUs from lowest to highest, or the list of their cores; the member is CpuPlaces
    };
    std::string_view name;
    Kind kind;
    std::uint32_t offset = 0, bytes = 0;  // of the member
    std::uint64_t lowest = 0, highest = 0;
    std::string_view yes = {}, no = {};
    const char* complaint = nullptr;               // about another value
    bool (*is_valid)(std::string_view) = nullptr;  // of a text that has a form
    // Of a text that stands for something else: stores that in the member. False: it stands for nothing.
    bool (*read)(std::string_view, void*) = nullptr;
    // When the value of a VM that is defined may be changed, and when that has an effect.
    enum class Change : std::uint8_t {
        now,
        at_next_start,
        when_off,  // and has it at the next start
        never,
    };
};

// The largest number that every JSON reader takes as it is.
constexpr std::uint64_t max_number = (1ull << 53) - 1;

#define MARGAY_MEMBER(type, member) offsetof(type, member), sizeof(type::member)

constexpr ManifestKey node_keys[] = {
    {"$schema", ManifestKey::Kind::text},
    {"vms", ManifestKey::Kind::vms},
    {"on_last_vm_off", ManifestKey::Kind::choice, MARGAY_MEMBER(Manifest, power_off_with_last_vm),
     0, 0, "power-off", "stay", "must be \"power-off\" or \"stay\""},
    {"test_exit_port",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(Manifest, test_exit_port),
     0,
     0xffff,
     {},
     {},
     "must be an I/O port, 0 to 65535"},
    {"test_kill_services_us",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(Manifest, test_kill_services_us),
     0,
     1'000'000'000,
     {},
     {},
     "must be 0 to 1000000000 us"},
};

constexpr ManifestKey vm_keys[] = {
    {"name", ManifestKey::Kind::text, MARGAY_MEMBER(VmConfig, name)},
    {"memory_mib",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(VmConfig, memory_mib),
     1,
     max_vm_memory_mib,
     {},
     {},
     "must be 1 to 1048576 MiB"},
    {"kernel", ManifestKey::Kind::text, MARGAY_MEMBER(VmConfig, kernel)},
    {"initrd", ManifestKey::Kind::text, MARGAY_MEMBER(VmConfig, initrd)},
    {"append", ManifestKey::Kind::text, MARGAY_MEMBER(VmConfig, append)},
    {"vmm", ManifestKey::Kind::text, MARGAY_MEMBER(VmConfig, vmm)},
    {"vmm_fallback", ManifestKey::Kind::text, MARGAY_MEMBER(VmConfig, vmm_fallback)},
    {"vmm_options", ManifestKey::Kind::text, MARGAY_MEMBER(VmConfig, vmm_options)},
    {"core",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(VmConfig, core),
     0,
     63,
     {},
     {},
     "must be 0 to 63"},
    {"cpus",
     ManifestKey::Kind::cpus,
     MARGAY_MEMBER(VmConfig, cpus),
     1,
     max_vcpus,
     {},
     {},
     "must be 1 to 64, or a list of as many cores"},
    {"cpu",
     ManifestKey::Kind::text,
     MARGAY_MEMBER(VmConfig, cpu),
     0,
     0,
     {},
     {},
     "must be \"host\" or \"x86-64\" to \"x86-64-v4\", and -FEATURE or +FEATURE, with commas "
     "between",
     [](std::string_view text) {
         CpuModel model;
         return parse_cpu_model(text, model);
     }},
    {"devices",
     ManifestKey::Kind::devices,
     MARGAY_MEMBER(VmConfig, devices),
     0,
     max_guest_functions,
     {},
     {},
     "more than 4 devices"},
    {"allow_no_reset", ManifestKey::Kind::flag, MARGAY_MEMBER(VmConfig, allow_no_reset)},
    {"allow_no_interrupt_remapping", ManifestKey::Kind::flag,
     MARGAY_MEMBER(VmConfig, allow_no_interrupt_remapping)},
    {"line_interrupts", ManifestKey::Kind::flag, MARGAY_MEMBER(VmConfig, line_interrupts)},
    {"console", ManifestKey::Kind::choice, MARGAY_MEMBER(VmConfig, attached), 0, 0, "attached",
     "detached", "must be \"attached\" or \"detached\""},
    {"unknown_msrs", ManifestKey::Kind::choice, MARGAY_MEMBER(VmConfig, zero_unknown_msrs), 0, 0,
     "zero", "fault", "must be \"fault\" or \"zero\""},
    {"hang_ms",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(VmConfig, hang_ms),
     10,
     600'000,
     {},
     {},
     "must be 10 to 600000 ms"},
    {"start_ms",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(VmConfig, start_ms),
     10,
     600'000,
     {},
     {},
     "must be 10 to 600000 ms"},
    {"standby", ManifestKey::Kind::flag, MARGAY_MEMBER(VmConfig, standby)},
    {"autostart", ManifestKey::Kind::flag, MARGAY_MEMBER(VmConfig, autostart)},
    {"on_reset", ManifestKey::Kind::choice, MARGAY_MEMBER(VmConfig, restarts_on_reset), 0, 0,
     "restart", "stop", "must be \"restart\" or \"stop\""},
    {"on_crash", ManifestKey::Kind::choice, MARGAY_MEMBER(VmConfig, restarts_on_crash), 0, 0,
     "restart", "stop", "must be \"restart\" or \"stop\""},
    {"on_freeze", ManifestKey::Kind::choice, MARGAY_MEMBER(VmConfig, keeps_frozen), 0, 0, "keep",
     "stop", "must be \"keep\" or \"stop\""},
    {"restart_limit",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(VmConfig, restart_limit),
     0,
     1'000'000,
     {},
     {},
     "must be 0 to 1000000"},
    {"restart_window_ms",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(VmConfig, restart_window_ms),
     1,
     86'400'000,
     {},
     {},
     "must be 1 to 86400000 ms"},
    {"test_kill_us",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(VmConfig, test_kill_us),
     0,
     1'000'000'000,
     {},
     {},
     "must be 0 to 1000000000 us"},
    {"test_kill_seed",
     ManifestKey::Kind::number,
     MARGAY_MEMBER(VmConfig, test_kill_seed),
     0,
     max_number,
     {},
     {},
     "must be 0 to 9007199254740991"},
};

// Of an entry of devices.
constexpr ManifestKey device_keys[] = {
    {"pci",
     ManifestKey::Kind::text,
     MARGAY_MEMBER(DeviceChoice, requester),
     0,
     0,
     {},
     {},
     "must be an address such as \"0000:00:03.0\", of segment 0000",
     nullptr,
     [](std::string_view text, void* to) {
         return parse_pci_address(text, *static_cast<std::uint32_t*>(to));
     }},
    {"vendor",
     ManifestKey::Kind::text,
     MARGAY_MEMBER(DeviceChoice, vendor),
     0,
     0,
     {},
     {},
     "must be four hexadecimal digits",
     nullptr,
     [](std::string_view text, void* to) {
         return parse_pci_id(text, *static_cast<std::uint32_t*>(to));
     }},
    {"device",
     ManifestKey::Kind::text,
     MARGAY_MEMBER(DeviceChoice, device),
     0,
     0,
     {},
     {},
     "must be four hexadecimal digits",
     nullptr,
     [](std::string_view text, void* to) {
         return parse_pci_id(text, *static_cast<std::uint32_t*>(to));
     }},
    {"class",
     ManifestKey::Kind::text,
     MARGAY_MEMBER(DeviceChoice, of_class),
     0,
     0,
     {},
     {},
     "must be two, four or six hexadecimal digits",
     nullptr,
     [](std::string_view text, void* to) {
         return parse_pci_class(text, *static_cast<DeviceChoice::Class*>(to));
     }},
};

#undef MARGAY_MEMBER

// What a guest is made of is there when the VM is off only.
constexpr ManifestKey::Change change_of(const ManifestKey& key) {
    using Change = ManifestKey::Change;
    for (const std::string_view name : {"name", "console", "devices"})
        if (key.name == name) return Change::never;
    for (const std::string_view name :
         {"memory_mib", "kernel", "initrd", "append", "vmm_options", "unknown_msrs", "core", "cpus",
          "cpu", "allow_no_reset", "allow_no_interrupt_remapping", "line_interrupts"})
        if (key.name == name) return Change::when_off;
    return key.name == "vmm" ? Change::at_next_start : Change::now;
}

// Null: there is none of that name.
constexpr const ManifestKey* find_vm_key(std::string_view name) {
    for (const ManifestKey& k : vm_keys)
        if (k.name == name) return &k;
    return nullptr;
}

// Gives the member of a key its value, written as in a manifest but without quotes; `object` is what has the member.
// Null, or a complaint: nothing was changed then.
const char* store_value(const ManifestKey& key, std::string_view value, void* object);

}  // namespace margay::init
