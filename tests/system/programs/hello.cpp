#include "libipc/start.hpp"
#include "libipc/system_call.hpp"
#include "proto/boot_info.hpp"
#include "support/format.hpp"
using namespace margay;
void program_main(std::uint64_t a) {
    const auto& info = *reinterpret_cast<const BootInfo*>(a);
    auto sink = [](char c) { port_write(init_slot::ports, 0x3f8, 1, static_cast<unsigned char>(c)); };
    print(sink, "hello from init: {} cores, tsc {} kHz, svm {}\n", info.cores, info.tsc_khz, info.virtualization);
    for (unsigned i = 0; i < info.extents; ++i) {
        auto& e = info.extent[i];
        print(sink, "{} {x}+{x} {} slot {}\n", e.use, e.base, e.size, e.name, e.slot);
    }
    port_write(init_slot::ports, 0xf4, 1, 0x10);
    __builtin_trap();
}
