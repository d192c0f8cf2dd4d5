#include "servers/pci/virtio.hpp"

namespace margay::pci {

namespace {

constexpr std::uint16_t vendor = 0x1af4, first_device = 0x1000, last_device = 0x107f;
constexpr unsigned vendor_capability = 0x09, most_capabilities = 48;
// Kinds of its capabilities, in the byte behind the length.
constexpr unsigned common = 1, window = 5;
// Of a capability: which BAR, where in it, how many bytes; of the window: what stands there, behind that.
constexpr unsigned bar_at = 4, offset_at = 8, length_at = 12, data_at = 16;
// Of the common configuration.
constexpr std::uint32_t feature_select = 0, features = 4;
constexpr std::uint32_t access_platform_word = 1, access_platform = 1 << 1;  // bit 33

// The first capability of a kind; 0: there is none.
unsigned find(Config& config, const Function& f, unsigned kind) {
    if ((config.read16(f.address, reg::status) & 1 << 4) == 0) return 0;
    unsigned at = config.read8(f.address, reg::capabilities) & ~3u;
    for (unsigned n = 0; at >= 0x40 && n < most_capabilities; ++n) {
        const std::uint32_t head = config.read(f.address, at);
        const unsigned bytes = head >> 16 & 0xff;
        const unsigned wanted = kind == window ? data_at + 4 : data_at;
        if ((head & 0xff) == vendor_capability && head >> 24 == kind && bytes >= wanted &&
            at + wanted <= plain_bytes)
            return at;
        at = head >> 8 & 0xfc;
    }
    return 0;
}

}  // namespace

bool bypasses_iommu(Config& config, const Function& f) {
    if (f.vendor != vendor || f.device < first_device || f.device > last_device) return false;
    const unsigned registers = find(config, f, common), through = find(config, f, window);
    // One of before 1.0 has neither, nor the feature.
    if (registers == 0 || through == 0) return true;
    const std::uint32_t bar = config.read(f.address, registers + bar_at) & 0xff;
    const std::uint32_t base = config.read(f.address, registers + offset_at);
    const auto look_at = [&](std::uint32_t offset) {
        config.write(f.address, through + bar_at, bar);
        config.write(f.address, through + offset_at, base + offset);
        config.write(f.address, through + length_at, 4);
    };
    look_at(feature_select);
    config.write(f.address, through + data_at, access_platform_word);
    look_at(features);
    const std::uint32_t offered = config.read(f.address, through + data_at);
    // What is not there reads as ones.
    return offered == ~0u || (offered & access_platform) == 0;
}

}  // namespace margay::pci
