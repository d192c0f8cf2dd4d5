#include "tests/host_node/shared_memory.hpp"

#include <cstring>

#include "proto/vmm.hpp"
#include "tests/unit/kernel/fakes/machine.hpp"
#include "ukernel/memory/direct_map.hpp"
#include "ukernel/object/domain.hpp"

namespace margay::host_node {

namespace {

std::span<std::byte> find(Domain& vmm, std::uint64_t address, std::size_t bytes) {
    const auto leaf = vmm.tables().lookup(address);
    if (!leaf) throw machine::Panic{"a VMM without its memory"};
    return {direct<std::byte>(leaf->physical), bytes};
}

}  // namespace

SharedMemory SharedMemory::of(Domain& vmm) {
    return {find(vmm, vmm_devices_address, device_state_bytes),
            find(vmm, vmm_control_address, page_size), find(vmm, vmm_state_address, page_size),
            find(vmm, vmm_console_address, sizeof(ConsoleChannel)),
            find(vmm, vmm_log_address, sizeof(ConsoleChannel))};
}

void Scribbler::word(std::span<std::byte> where) {
    std::uint64_t value = 0;
    switch (pick(6)) {
    case 0: value = random_(); break;
    case 1: value = ~0ull; break;
    case 2: value = 0; break;
    case 3: value = 1ull << pick(64); break;
    case 4: value = 0x8000'0000'8000'0000; break;
    default: value = pick(256); break;
    }
    constexpr std::size_t widths[] = {1, 2, 4, 8};
    const std::size_t width = widths[pick(4)];
    std::memcpy(&where[pick(where.size() / width) * width], &value, width);
}

void Scribbler::any(std::span<std::byte> where) {
    switch (pick(4)) {
    case 0: where[pick(where.size())] ^= std::byte(1 << pick(8)); break;
    case 1: {
        const std::size_t begin = pick(where.size());
        const std::size_t length = pick(std::min<std::size_t>(where.size() - begin, 300)) + 1;
        std::memset(&where[begin], static_cast<int>(pick(3) == 0 ? pick(256) : 0xff * pick(2)),
                    length);
        break;
    }
    default: word(where);
    }
}

void Scribbler::control(std::span<std::byte> page) {
    switch (pick(4)) {
    case 0: std::memset(page.data(), static_cast<int>(pick(256)), page.size()); break;
    case 1: std::memset(&page[8], 'X', page.size() - 8); break;  // texts without an end
    default: word(page.first(sizeof(VmControl)));
    }
}

void Scribbler::ring(std::span<std::byte> channel) {
    auto& c = *reinterpret_cast<ConsoleChannel*>(channel.data());
    // Head and tail of both rings.
    auto* const output = reinterpret_cast<std::uint32_t*>(&c.output);
    auto* const input = reinterpret_cast<std::uint32_t*>(&c.input);
    std::uint32_t* const indices[] = {output, output + 1, input, input + 1};
    std::uint32_t& index = *indices[pick(4)];
    switch (pick(6)) {
    case 0: index += 0x8000'0000; break;
    case 1: index = static_cast<std::uint32_t>(random_()); break;
    case 2: index -= 1; break;
    case 3: index += 16385; break;
    case 4: any(channel); break;
    default: c.wants_doorbell.store(static_cast<std::uint32_t>(pick(2) - 1)); break;
    }
}

void Scribbler::state(std::span<std::byte> page) {
    for (std::uint64_t n = pick(8) + 1; n != 0; --n) any(page);
}

void Scribbler::region(std::span<std::byte> region) {
    for (std::uint64_t n = pick(4) + 1; n != 0; --n) {
        switch (pick(4)) {
        case 0: word(region.first(128)); break;               // the header
        case 1: any(region.first(2200)); break;               // and the directory
        case 2: any(region.first(region.size() / 2)); break;  // and fields and values
        default: any(region);
        }
    }
}

}  // namespace margay::host_node
