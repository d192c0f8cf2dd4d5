// A supervisor of VMs that are not there, for tests and the fuzz target.
#pragma once
#include <string>
#include <vector>

#include "servers/init/control/operations.hpp"
#include "servers/init/text.hpp"

namespace margay::init {

struct FakeOperations : Operations {
    std::vector<VmInfo> vms;
    std::vector<ModuleInfo> modules{{"vmm", 400'000}, {"vmm-old", 1}};
    std::vector<DeviceInfo> devices;
    std::vector<PolicyInfo> policies;
    std::vector<std::vector<CpuExits>> exits;  // by VM and vCPU
    std::vector<std::string> executed;         // "action:vm:module"
    std::string refusal;                       // execute fails with it
    std::string defined;                       // by the last define
    unsigned goes_on = 0;                      // calls of outcome() before the next is done

    FakeOperations() {
        VmInfo vm;
        vm.name = "linux";
        vm.phase = VmPhase::running;
        vm.core = 1;
        vm.memory_mib = 256;
        vm.exits = 39450;
        vm.vmm = "vmm";
        vms.push_back(vm);
        exits.emplace_back(2);
        CpuExits& first = exits[0][0];
        first.core = 1;
        first.of[static_cast<unsigned>(ExitClass::startup)] = {1, 5000};
        first.of[static_cast<unsigned>(ExitClass::cpuid)] = {20, 30'001};
        first.by_kernel[0] = 7;
        exits[0][1].of[static_cast<unsigned>(ExitClass::cpuid)] = {3, 40};
        vm = VmInfo{};
        vm.name = "two";
        vm.phase = VmPhase::failed;
        vm.vmm = "vmm-old";
        copy_text(vm.reason, "triple fault");
        vms.push_back(vm);
    }

    unsigned vm_count() override { return static_cast<unsigned>(vms.size()); }
    VmInfo vm_info(unsigned vm) override { return vms.at(vm); }
    unsigned counted_cpus(unsigned vm) override {
        return vm < exits.size() ? static_cast<unsigned>(exits[vm].size()) : 0;
    }
    CpuExits cpu_exits(unsigned vm, unsigned cpu) override { return exits.at(vm).at(cpu); }
    unsigned module_count() override { return static_cast<unsigned>(modules.size()); }
    ModuleInfo module(unsigned index) override { return modules.at(index); }
    unsigned device_count() override { return static_cast<unsigned>(devices.size()); }
    DeviceInfo device(unsigned index) override { return devices.at(index); }
    unsigned policy_count() override { return static_cast<unsigned>(policies.size()); }
    PolicyInfo policy(unsigned index) override { return policies.at(index); }
    NodeInfo node_info() override {
        return {2,          1000 << 10,
                2000 << 10, 30,
                40,         5,
                6,          7,
                8,          [](unsigned core) -> std::uint64_t { return 900 * core; }};
    }
    Outcome execute(const Command& c, unsigned vm) override {
        if (c.action == Action::define) defined = c.config;
        executed.push_back(std::string{commands()[static_cast<unsigned>(c.action)].name} + ":" +
                           std::to_string(vm) + ":" + std::string{c[Parameter::module]});
        if (!refusal.empty()) return {false, refusal.c_str()};
        if (c.action == Action::vmm_swap) vms.at(vm).blackout_ns = 1'234'567;
        if (goes_on != 0) return {true, "", true, ++ticket};
        return {};
    }
    Outcome outcome(unsigned, unsigned t) override {
        if (goes_on != 0 && --goes_on != 0) return {true, "", true, t};
        return refusal.empty() ? Outcome{} : Outcome{false, refusal.c_str()};
    }
    Outcome receive(std::uint32_t transfer, std::uint64_t offset, std::string_view bytes) override {
        Outcome o;
        if (transfer != 1)
            return {false, "there is no such transfer", false, 0, FailureKind::not_found};
        received += bytes;
        o.arrival = {transfer, offset + bytes.size(), received.size() == awaited};
        return o;
    }
    std::string received;
    std::size_t awaited = 10'000;
    unsigned ticket = 0;
};

}  // namespace margay::init
