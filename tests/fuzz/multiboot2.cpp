// Boot information for the kernel's Multiboot2 parser. The loader vouches for the total size and nothing else:
// the buffer is exactly as long as that says.
#include "tests/fuzz/input.hpp"

#include "ukernel/boot/multiboot2.hpp"
#include "ukernel/memory/memory_map.hpp"

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
    require(boot->module_count <= BootData::max_modules, "counts fit");
    for (unsigned i = 0; i < boot->module_count; ++i) {
        require(std::memchr(boot->modules[i].name, 0, sizeof(boot->modules[i].name)) != nullptr,
                "a module's name ends");
    }
    auto map = std::make_unique<MemoryMap>();
    map->build(boot->memory, HostPhys{1ull << 46});
    HostPhys last{0};
    for (const MemoryRange& r : *map) {
        require(r.begin >= last && r.begin < r.end,
                "ranges are sorted and disjoint, none is empty");
        require((r.begin.value() | r.end.value()) % 4096 == 0, "ranges are whole pages");
        last = r.end;
    }
    require(last.value() <= 1ull << 46, "ranges are within reach");
    require(std::memchr(boot->command_line, 0, sizeof(boot->command_line)) != nullptr,
            "the command line ends");
    return 0;
}
