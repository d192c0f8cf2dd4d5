// The kernel's own output: COM1 or the port of option log=, polled. Used while the node starts and when something fails; once the
// console server runs, a healthy kernel prints nothing.
#pragma once
#include "support/format.hpp"

namespace margay {

namespace console {
// 16550 at this port; nothing is printed if there is none.
void init(std::uint16_t port = 0x3f8);
void put(char c);
// Only the first core to take it prints; released by the same core.
void lock();
void unlock();
}  // namespace console

template <typename... Arguments>
void log(std::string_view format, const Arguments&... arguments) {
    console::lock();
    print([](char c) { console::put(c); }, format, arguments...);
    console::unlock();
}

}  // namespace margay
