# Sources of the VMM that need neither kernel nor libipc: they build for the node and for host tests.
set(MARGAY_VMM_BOARD_SOURCES
    servers/vmm/board.cpp
    servers/vmm/acpi/tables.cpp
    servers/vmm/cpu/cpuid.cpp
    servers/vmm/cpu/kvm_calls.cpp
    servers/vmm/cpu/kvm_clock.cpp
    servers/vmm/cpu/msr.cpp
    servers/vmm/cpu/steal_time.cpp
    servers/vmm/devices/acpi_pm.cpp
    servers/vmm/devices/inbox.cpp
    servers/vmm/devices/io_apic.cpp
    servers/vmm/devices/local_apic.cpp
    servers/vmm/devices/local_apic_registers.cpp
    servers/vmm/devices/local_apic_timer.cpp
    servers/vmm/devices/pci_host.cpp
    servers/vmm/devices/pic.cpp
    servers/vmm/devices/pit.cpp
    servers/vmm/devices/rtc.cpp
    servers/vmm/devices/uart.cpp
    servers/vmm/loader/elf_image.cpp
    servers/vmm/loader/linux_header.cpp
    servers/vmm/loader/linux_loader.cpp
    servers/vmm/loader/load_error.cpp
    servers/vmm/loader/load_image.cpp
    servers/vmm/loader/low_memory.cpp
    servers/vmm/loader/multiboot_header.cpp
    servers/vmm/loader/multiboot_loader.cpp
    servers/vmm/loader/pvh_loader.cpp
    servers/vmm/state/attach.cpp
    servers/vmm/state/convert.cpp
    servers/vmm/state/inspect.cpp
    servers/vmm/state/rollback.cpp
    servers/vmm/state/seal.cpp
    servers/vmm/vcpu/cpus.cpp
    servers/vmm/vm_check.cpp
    servers/vmm/vm_layout.cpp)

# Everything but main.cpp, with absolute paths: another main.cpp makes a VMM for tests (see serve.hpp).
include(${CMAKE_CURRENT_LIST_DIR}/emulator/sources.cmake)
set(MARGAY_VMM_SOURCES
    servers/vmm/exits/control_register.cpp
    servers/vmm/exits/cpuid.cpp
    servers/vmm/exits/halt.cpp
    servers/vmm/exits/hypercall.cpp
    servers/vmm/exits/mmio.cpp
    servers/vmm/exits/msr.cpp
    servers/vmm/exits/other.cpp
    servers/vmm/exits/port.cpp
    servers/vmm/exits/startup.cpp
    servers/vmm/exits/wake.cpp
    servers/vmm/open.cpp
    servers/vmm/vcpu/machine.cpp
    servers/vmm/vcpu/report.cpp
    ${MARGAY_VMM_BOARD_SOURCES}
    ${MARGAY_VMM_EMULATOR_SOURCES})
list(TRANSFORM MARGAY_VMM_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/)
set(MARGAY_VMM_LIBRARIES zydis aml_dsdt)
