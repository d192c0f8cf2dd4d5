// What programs in init's place share: output on COM1, memory from the largest free extent, the end.
#pragma once
#include "libipc/system_call.hpp"
#include "proto/boot_info.hpp"
#include "servers/init/node.hpp"
#include "support/format.hpp"

namespace margay::test {

inline void put(char c) {
    if (c == '\n') put('\r');
    while ((port_read(init_slot::ports, 0x3fd, 1) & 0x20) == 0) {}
    (void)port_write(init_slot::ports, 0x3f8, 1, static_cast<unsigned char>(c));
}

template <typename... Arguments>
void say(std::string_view format, const Arguments&... arguments) {
    print([](char c) { put(c); }, format, arguments...);
}

// Ends the node through the debug-exit device of the test machine, QEMU's or Bochs'.
[[noreturn]] inline void end(bool good) {
    (void)port_write(init_slot::ports, 0xf4, 1, good ? 0x10 : 0x11);
    (void)port_write(init_slot::ports, 0xe9, 1, good ? 0x10 : 0x11);
    for (;;) asm volatile("pause");
}

[[noreturn]] inline void die(const char* what, Status s) {
    say("margay: {}: {}\n", what, to_text(s));
    end(false);
}
inline void must(Status s, const char* what) {
    if (s != Status::ok) die(what, s);
}
template <typename T>
T must(const Result<T>& r, const char* what) {
    must(r.status(), what);
    return r.value();
}

// All memory comes from the largest free extent.
inline void use_largest_extent(init::Node& node) {
    const BootInfo& info = node.info();
    const BootExtent* largest = nullptr;
    for (unsigned i = 0; i < info.extents; ++i) {
        const BootExtent& e = info.extent[i];
        if (e.use == ExtentUse::free_ram && (largest == nullptr || e.size > largest->size))
            largest = &e;
    }
    if (largest == nullptr) die("free RAM", Status::not_found);
    node.use_bootstrap({largest->slot, largest->base, largest->size});
}

}  // namespace margay::test
