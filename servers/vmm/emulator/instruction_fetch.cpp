#include "servers/vmm/emulator/instruction_fetch.hpp"

#include <algorithm>

namespace margay::vmm {

FetchedBytes fetch_instruction(GuestMemory& memory, WalkCache& cache, const VcpuState& s,
                               const CpuMode& mode) noexcept {
    FetchedBytes fetched{};
    const std::uint64_t start = code_address(s, mode);
    std::size_t wanted = longest_instruction;
    auto end = FetchedBytes::End::complete;
    if (!mode.is_64bit()) {
        const std::uint64_t offset = s.rip & mode.ip_mask();
        const std::uint64_t room = offset > s.cs.limit ? 0 : s.cs.limit - offset + 1;
        if (room < wanted) {
            wanted = room;
            end = FetchedBytes::End::limit;
        }
    }
    while (fetched.count < wanted) {
        std::uint64_t linear = start + fetched.count;
        if (!mode.is_64bit()) {
            linear &= 0xffff'ffff;
        } else if (!is_canonical(linear, mode.linear_bits())) {
            end = FetchedBytes::End::not_canonical;
            break;
        }
        const PageTranslation* page = nullptr;
        const auto result = cache.translate(memory, mode, s.cr3, linear, AccessKind::fetch, page);
        if (result.status == WalkStatus::page_fault) {
            fetched.error_code = result.error_code;
            fetched.address = linear;
            end = FetchedBytes::End::page_fault;
            break;
        }
        if (result.status != WalkStatus::ok || page->ram == nullptr) {
            end = FetchedBytes::End::no_memory;
            break;
        }
        const std::size_t offset = linear & 0xfff;
        const std::size_t length = std::min<std::size_t>(wanted - fetched.count, 0x1000 - offset);
        std::memcpy(fetched.bytes + fetched.count, page->ram + offset, length);
        fetched.count = static_cast<std::uint8_t>(fetched.count + length);
    }
    fetched.end = end;
    return fetched;
}

std::size_t read_guest_code(GuestMemory& memory, const VcpuState& s,
                            std::span<std::byte> bytes) noexcept {
    const auto mode = CpuMode::of(s);
    const std::uint64_t start = code_address(s, mode);
    std::size_t count = 0;
    while (count < bytes.size()) {
        std::uint64_t linear = start + count;
        if (!mode.is_64bit()) {
            linear &= 0xffff'ffff;
        } else if (!is_canonical(linear, mode.linear_bits())) {
            break;
        }
        PageTranslation page;
        const auto result = walk(memory, mode, s.cr3, linear, AccessKind::fetch, page);
        if (result.status != WalkStatus::ok || page.ram == nullptr) {
            break;
        }
        const std::size_t offset = linear & 0xfff;
        const std::size_t length = std::min<std::size_t>(bytes.size() - count, 0x1000 - offset);
        std::memcpy(bytes.data() + count, page.ram + offset, length);
        count += length;
    }
    return count;
}

}  // namespace margay::vmm
