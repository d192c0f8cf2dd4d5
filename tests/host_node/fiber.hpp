// A stack of its own for code that is left and continued at will: user code of a simulated thread.
#pragma once
#include <cstddef>
#include <functional>

namespace margay::host_node {

class Fiber {
  public:
    explicit Fiber(std::function<void()> body);
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Not from a fiber. Runs the body until it calls leave().
    void resume();
    // From the fiber that runs; returns with the next resume(). The body must end in it. A fiber that is
    // never resumed again is simply forgotten: nothing on its stack is destroyed.
    static void leave();
    // The one that runs, or null.
    static Fiber* current();

  private:
    static constexpr std::size_t stack_bytes = 1 << 20;
    [[noreturn]] static void begin();

    std::function<void()> body_;
    char* stack_;
    void* stack_pointer_;
    void* shadow_ = nullptr;  // AddressSanitizer's bookkeeping of this stack
};

}  // namespace margay::host_node
