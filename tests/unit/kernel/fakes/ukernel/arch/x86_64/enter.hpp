// In the place of the kernel's header of this name: leaving the kernel ends in an exception that says
// who was entered.
#pragma once
#include <cstdint>

#include "ukernel/object/thread.hpp"

extern "C" [[noreturn]] void enter_thread_result(margay::Thread* thread);
extern "C" [[noreturn]] void enter_thread_full(margay::Thread* thread);

namespace margay {

[[noreturn]] void enter_thread_message(Thread& thread, std::uint64_t badge, std::uint64_t label,
                                       std::uint64_t w0, std::uint64_t w1, std::uint64_t w2,
                                       std::uint64_t w3, std::uint64_t w4, std::uint64_t w5);

}  // namespace margay
