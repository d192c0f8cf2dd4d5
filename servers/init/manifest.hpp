// The node manifest: what runs on this node. JSON with comments; docs/manual/manifest.md explains every key.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "servers/init/device_choice.hpp"

namespace margay::init {

constexpr unsigned max_vms = 254;  // as many as the console has channels for, beside the node's
constexpr unsigned max_name = 24;
constexpr unsigned max_cpu_model = 256;
constexpr unsigned max_append = 2048;  // as Linux: COMMAND_LINE_SIZE, the zero byte included
constexpr unsigned max_options = 1024;
constexpr unsigned max_vcpus = 64;
constexpr unsigned max_manifest_bytes = 128 << 10;
constexpr std::uint64_t max_vm_memory_mib = 1 << 20;

// The vCPUs of a VM.
struct CpuPlaces {
    std::uint64_t count = 1;            // 1 to max_vcpus
    std::uint64_t is_listed = 0;        // 1: this is the core of each
    std::uint8_t core[max_vcpus] = {};  // of the node
};

struct VmConfig {
    char name[max_name] = {};
    std::uint64_t memory_mib = 256;
    char kernel[max_name] = {};
    char initrd[max_name] = {};  // empty: none
    char append[max_append] = {};
    char vmm[max_name] = "vmm";
    char vmm_fallback[max_name] = {};  // empty: none
    char vmm_options[max_options] = {};
    std::uint64_t hang_ms = 1000;
    std::uint64_t start_ms = 10000;
    std::uint64_t restart_limit = 16;
    std::uint64_t restart_window_ms = 10000;
    std::uint64_t test_kill_us = 0;  // 0: never
    std::uint64_t test_kill_seed = 1;
    std::uint64_t core = 0;  // of vCPU 0
    CpuPlaces cpus;
    char cpu[max_cpu_model] = "host";
    DeviceChoices devices;
    bool allow_no_reset = false;                // of devices that nothing resets
    bool allow_no_interrupt_remapping = false;  // of devices that can raise any
    bool line_interrupts = false;               // its devices have their interrupt lines
    bool attached = true;
    bool standby = false;            // a second VMM waits, loaded
    bool autostart = true;           // it is started when the node is
    bool zero_unknown_msrs = false;  // MSRs that do not exist read zero, instead of a fault
    // What becomes of it when its guest ends in such a way: true: it is started anew (of a frozen one: it is kept).
    bool restarts_on_reset = true, restarts_on_crash = true, keeps_frozen = true;
};

// Where vCPU `number` runs on a node of so many cores, if no list says it: on the cores from the VM's on, one each
// as far as there are so many, then in turn.
[[nodiscard]] constexpr unsigned core_of(const VmConfig& config, unsigned number, unsigned cores) {
    if (config.cpus.is_listed != 0) return config.cpus.core[number];
    const auto first = static_cast<unsigned>(config.core);
    return first >= cores ? first : first + number % (cores - first);
}

struct Manifest {
    std::span<VmConfig> vms;  // room for them, of whoever parses: a whole node's is max_vms
    unsigned vm_count = 0;
    bool power_off_with_last_vm = true;
    std::uint16_t test_exit_port = 0;
    std::uint64_t test_kill_services_us = 0;  // 0: never
};

// Why a manifest was refused. key is empty if the text is no JSON at all.
struct ManifestError {
    const char* what = nullptr;  // null: no error
    unsigned line = 0;           // from 1
    char key[32] = {};
};

// Fills `manifest` from text, as far as it has room for VMs. Unknown and repeated keys, wrong types and values out of range are
// errors; so is a VM without a name or a kernel, and two VMs of one name.
[[nodiscard]] ManifestError parse_manifest(std::string_view text, Manifest& manifest);

// The same, for who wants to hear of every error: stores as many as there is room for, and returns how many.
// What is no JSON hides what stands behind it.
[[nodiscard]] std::size_t check_manifest(std::string_view text, Manifest& manifest,
                                         std::span<ManifestError> errors);

}  // namespace margay::init
