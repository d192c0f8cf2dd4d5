// Boot information for the kernel's Multiboot2 parser. The loader vouches for the total size and nothing else:
// the buffer is exactly as long as that says.
#include "tests/fuzz/input.hpp"

#include "ukernel/boot/multiboot2.hpp"

#include <memory>

using namespace margay;
using margay::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 8) {
        return 0;
    }
    std::uint32_t total = 0;
    std::memcpy(&total, data, 4);
    total = std::clamp<std::uint32_t>(total, 8, static_cast<std::uint32_t>(size));
    const std::unique_ptr<std::uint8_t[]> info{new std::uint8_t[total]};
    std::memcpy(info.get(), data, total);
    std::memcpy(info.get(), &total, 4);

    auto boot = std::make_unique<BootData>();
    if (!parse_multiboot2(info.get(), HostPhys{0x10'0000}, *boot)) {
        return 0;
    }
    require(boot->module_count <= BootData::max_modules && boot->ram_count <= BootData::max_ram,
            "counts fit");
    for (unsigned i = 0; i < boot->module_count; ++i) {
        require(std::memchr(boot->modules[i].name, 0, sizeof(boot->modules[i].name)) != nullptr,
                "a module's name ends");
    }
    for (unsigned i = 0; i < boot->ram_count; ++i) {
        const auto& ram = boot->ram[i];
        require(ram.begin.value() < ram.end.value(), "a range of RAM is not empty");
        require((ram.begin.value() | ram.end.value()) % 4096 == 0, "RAM is whole pages");
    }
    require(std::memchr(boot->command_line, 0, sizeof(boot->command_line)) != nullptr,
            "the command line ends");
    return 0;
}
