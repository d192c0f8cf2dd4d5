// An executable for the check that the kernel and init make before they load one.
#include "tests/fuzz/input.hpp"

#include "support/elf.hpp"

#include <memory>

using namespace margay;
using margay::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::uint64_t lowest = 0x40'0000, highest = 0x4000'0000;
    const std::unique_ptr<std::uint8_t[]> image{new std::uint8_t[size]};
    if (size != 0) {
        std::memcpy(image.get(), data, size);
    }
    if (check_elf(image.get(), size, lowest, highest) != nullptr) {
        return 0;
    }
    // What was accepted can be loaded.
    ElfHeader header;
    std::memcpy(&header, image.get(), sizeof(header));
    require(header.entry >= lowest && header.entry < highest, "the entry is in range");
    unsigned sum = 0;
    for (unsigned i = 0; i < header.program_header_count; ++i) {
        ElfSegment segment;
        std::memcpy(&segment, image.get() + header.program_headers + i * sizeof(segment),
                    sizeof(segment));
        if (segment.type != 1 || segment.memory_size == 0) {
            continue;
        }
        require(segment.file_size <= segment.memory_size, "the file's part fits");
        require(segment.address >= lowest && segment.address + segment.memory_size <= highest &&
                    segment.address + segment.memory_size > segment.address,
                "the segment is in range");
        for (std::uint64_t at = 0; at < segment.file_size; ++at) {
            sum += image[segment.offset + at];
        }
    }
    volatile unsigned keep = sum;
    (void)keep;
    return 0;
}
