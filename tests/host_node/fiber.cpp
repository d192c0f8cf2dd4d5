#include "tests/host_node/fiber.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#if __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves what a function must preserve, stores the stack pointer, continues on another stack.
extern "C" void host_node_switch_stack(void** from, void* to);
asm(R"(
        .text
        .globl  host_node_switch_stack
        .type   host_node_switch_stack, @function
host_node_switch_stack:
        push    %rbp
        push    %rbx
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, (%rdi)
        mov     %rsi, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbx
        pop     %rbp
        ret
        .size   host_node_switch_stack, . - host_node_switch_stack
)");

namespace margay::host_node {

namespace {

Fiber* running = nullptr;
void* main_stack_pointer = nullptr;
const void* main_stack = nullptr;
std::size_t main_stack_bytes = 0;

// Stacks are many and short-lived: they are used again.
std::vector<char*> free_stacks;

char* take_stack(std::size_t bytes) {
    if (!free_stacks.empty()) {
        char* stack = free_stacks.back();
        free_stacks.pop_back();
        return stack;
    }
    constexpr std::size_t guard = 4096;
    void* at = mmap(nullptr, bytes + guard, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (at == MAP_FAILED) std::abort();
    mprotect(at, guard, PROT_NONE);
    return static_cast<char*>(at) + guard;
}

void begin_switch([[maybe_unused]] void** shadow, [[maybe_unused]] const void* bottom,
                  [[maybe_unused]] std::size_t bytes) {
#if __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(shadow, bottom, bytes);
#endif
}

void end_switch([[maybe_unused]] void* shadow, [[maybe_unused]] const void** bottom,
                [[maybe_unused]] std::size_t* bytes) {
#if __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(shadow, bottom, bytes);
#endif
}

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_{std::move(body)}, stack_{take_stack(stack_bytes)} {
#if __SANITIZE_ADDRESS__
    // A fiber that was forgotten has left its frames' red zones.
    __asan_unpoison_memory_region(stack_, stack_bytes);
#endif
    auto* top = reinterpret_cast<std::uint64_t*>(stack_ + stack_bytes);
    *--top = 0;  // where begin() would return to: the stack is as after a call
    *--top = reinterpret_cast<std::uint64_t>(&Fiber::begin);
    for (unsigned i = 0; i < 6; ++i) *--top = 0;
    stack_pointer_ = top;
}

Fiber::~Fiber() { free_stacks.push_back(stack_); }

Fiber* Fiber::current() { return running; }

void Fiber::resume() {
    running = this;
    void* shadow = nullptr;
    begin_switch(&shadow, stack_, stack_bytes);
    host_node_switch_stack(&main_stack_pointer, stack_pointer_);
    end_switch(shadow, nullptr, nullptr);
}

void Fiber::leave() {
    Fiber& self = *std::exchange(running, nullptr);
    begin_switch(&self.shadow_, main_stack, main_stack_bytes);
    host_node_switch_stack(&self.stack_pointer_, main_stack_pointer);
    end_switch(self.shadow_, &main_stack, &main_stack_bytes);
}

void Fiber::begin() {
    end_switch(nullptr, &main_stack, &main_stack_bytes);
    running->body_();
    std::abort();
}

}  // namespace margay::host_node
