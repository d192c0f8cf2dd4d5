// A kernel image and an initrd for the loaders of all boot protocols.
//
// Input: RAM size in MiB (1), initrd length (2), command line length (1), command line, initrd, kernel.
#include "tests/fuzz/input.hpp"

#include "servers/vmm/loader/load_image.hpp"
#include "servers/vmm/loader/ram_layout.hpp"

#include <sys/mman.h>

using namespace margay::vmm;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

constexpr std::size_t most_ram = 64 << 20;

std::byte* reserve_ram() {
    void* const address = mmap(nullptr, most_ram, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(address != MAP_FAILED, "memory for the guest");
    return static_cast<std::byte*>(address);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static std::byte* const memory = reserve_ram();
    Input input{data, size};
    // The bytes behind the guest's RAM must stay as they are.
    const std::size_t ram_size = (input.take<std::uint8_t>() % 63U) << 20;
    std::memset(memory + ram_size, 0xa5, 4096);
    const std::size_t initrd_size = input.take<std::uint16_t>();
    const std::size_t command_line_size = input.take<std::uint8_t>();
    const auto command_line = input.take_bytes(command_line_size);
    const auto initrd = input.take_bytes(initrd_size);
    const auto kernel = input.take_rest();

    // Copies of their own, so that one byte too far is found.
    const auto exact = [](std::span<const std::uint8_t> bytes) {
        auto* const copy =
            static_cast<std::byte*>(std::malloc(bytes.size() + (bytes.empty() ? 1 : 0)));
        if (!bytes.empty()) {
            std::memcpy(copy, bytes.data(), bytes.size());
        }
        return std::span<std::byte>{copy, bytes.size()};
    };
    const auto kernel_copy = exact(kernel);
    const auto initrd_copy = exact(initrd);
    const auto result =
        load_image({memory, ram_size},
                   {kernel_copy,
                    initrd_copy,
                    {reinterpret_cast<const char*>(command_line.data()), command_line.size()},
                    0xe0000});
    require(!to_text(result.error).empty(), "every error has a text");
    if (result.error == LoadError::none) {
        const auto& start = result.start;
        require(start.rip < ram_size && start.rip >= start.kernel_base, "the entry lies in RAM");
        require(start.rsi < ram_size && start.rbx < ram_size && start.cr3 < ram_size &&
                    start.gdt_base < ram_size && start.rsp <= ram_size,
                "what the kernel is given lies in RAM");
        if (start.initrd_base != 0) {
            require(start.initrd_base + initrd.size() <= ram_size, "the initrd lies in RAM");
            require(std::memcmp(memory + start.initrd_base, initrd.data(), initrd.size()) == 0,
                    "the initrd is there");
        }
    }
    for (std::size_t i = 0; i < 4096; ++i) {
        require(memory[ram_size + i] == std::byte{0xa5}, "nothing behind RAM is written");
    }
    std::free(kernel_copy.data());
    std::free(initrd_copy.data());
    return 0;
}
