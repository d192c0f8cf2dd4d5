// What a VMM finds in its start-up block, and where.
//
//   ram      guest RAM: the part below the PCI hole first, then the rest; value: unused
//   kernel, initrd  the boot modules, read-only; size: exact bytes. initrd may be missing
//   append   the guest kernel's command line, zero-terminated
//   state    the vCPU's state page (VcpuState)          vcpu     the Vcpu, right::inspect
//   devices  the device-state region: outlives the VMM  control  VmControl, shared with the supervisor
//   vcpus    in the place of vcpu where there are several: the first of so many slots as value says.
//            Further state pages, device-state regions and room for the VMM's own of each: at their addresses below
//   sharing  value: bit i: vCPU i shares its core with another one; where there are several
//   events   the first of as many slots: an Event recalls the vCPU of that number, right::signal
//   functions  GuestFunctions, read-only: PCI functions that the guest drives; missing if there are none, as the next three
//   parts    the first of so many slots as value says: Memory, see FunctionPart::memory; right::read and right::write
//   lines    the first of so many Irqs as value says, right::control: interrupt lines of the functions; missing if there are none
//   space    the guest's Space, right::map               messages  the first of as many Irqs as value says, right::control
//   console  the VM's serial line (ConsoleChannel)      log      lines of the VMM itself
//   supervisor  signalled, with the bits in value, when VmControl::phase has changed
//   unknown_msrs  value: 1 if MSRs that do not exist read zero, 0 if they fault; for a new VM
//   hidden   value: the CpuFeatures that a new VM's guest does not see; may be missing: none
//   epoch    value: Unix time in seconds when the VM was created
//   restart  value: how many VMMs the VM has had before
//   restored value: TSC when the VM was saved, if it goes on from there; else 0
//   resumed  value: TSC when it went on then
//
// Whether the VM is new is said by the device-state region: all zero if it is.
#pragma once
#include <cstdint>

namespace margay {

constexpr std::uint64_t vmm_kernel_address = 0x3000'0000;
constexpr std::uint64_t vmm_initrd_address = 0x5000'0000;
constexpr std::uint64_t vmm_state_address = 0x2100'0000;
constexpr std::uint64_t vmm_control_address = 0x2101'0000;
constexpr std::uint64_t vmm_append_address = 0x2102'0000;
// Options for the VMM itself, zero-terminated, stand behind the command line.
constexpr std::uint64_t vmm_options_offset = 2048;
constexpr std::uint64_t vmm_console_address = 0x2110'0000;
constexpr std::uint64_t vmm_log_address = 0x2120'0000;
constexpr std::uint64_t vmm_devices_address = 0x2200'0000;
// Of vCPU i: the state page at + i pages, the region at vmm_devices_address + i times its bytes, and at + i times
// vmm_machine_bytes memory, zeroed, that is the VMM's own. Of vCPU 0 there is the region only.
constexpr std::uint64_t vmm_further_states_address = 0x2300'0000;
constexpr std::uint64_t vmm_machines_address = 0x2400'0000;
constexpr std::uint64_t vmm_machine_bytes = 64 << 10;
constexpr std::uint64_t vmm_functions_address = 0x2900'0000;
constexpr std::uint64_t vmm_traps_address = 0x2a00'0000;  // trapped parts of BARs
constexpr std::uint64_t vmm_ram_address = 0x2000'0000'0000;

constexpr std::uint64_t device_state_bytes = 64 << 10;

// Guest RAM beyond this many bytes continues at 4 GiB: below it are the devices.
constexpr std::uint64_t guest_low_ram_limit = 3ull << 30;
constexpr std::uint64_t guest_high_ram = 4ull << 30;

}  // namespace margay
