// Threads in domains of their own, made by a test program from its own code: the child runs a function
// of this image. Text and data of the image are no capability of ours, so the code is copied page by
// page into fresh memory; functions given to a child must use nothing but their argument and system
// calls.
#pragma once
#include <cstring>

#include "libipc/system_call.hpp"
#include "tests/support.hpp"

namespace margay::test {

constexpr std::uint64_t child_code = 0x400000;
constexpr std::uint64_t child_data = 0x600000;  // one page, shared with the parent: its argument
constexpr std::uint64_t child_stack = 0x800000;

// Slots that every child finds in its table.
constexpr Slot child_event = 1;
constexpr Slot child_portal = 2;
constexpr Slot child_memory = 3;

// What parent and child share.
struct Shared {
    volatile std::uint64_t words[512];
};

class Child {
  public:
    explicit Child(init::Node& node) : node_{node} {}

    // Creates domain, code, data and stack; the thread is stopped.
    void make(unsigned core, unsigned priority, void (*function)(Shared*)) {
        const Extent storage = must(node_.allocate(256 << 10), "child domain");
        storage_ = storage.slot;
        domain = node_.new_slot();
        must(create(ObjectType::domain, domain, storage.slot, 64, 32), "child domain");
        // The function and what follows it; children are short.
        constexpr std::uint64_t code_bytes = 2 * page_size;
        const Extent code = must(node_.allocate(code_bytes), "child code");
        const std::uint64_t at = must(node_.map_here(code, map_right::read_write), "child code");
        const auto from = reinterpret_cast<std::uint64_t>(function) & ~(page_size - 1);
        std::memcpy(reinterpret_cast<void*>(at), reinterpret_cast<const void*>(from), code_bytes);
        (void)revoke(code.slot);
        must(
            map(code.slot, domain, child_code, 0, code_bytes, map_right::read | map_right::execute),
            "child code");
        data = must(node_.allocate(page_size), "child data");
        shared =
            reinterpret_cast<Shared*>(must(node_.map_here(data, map_right::read_write), "data"));
        std::memset(const_cast<std::uint64_t*>(shared->words), 0, page_size);
        must(map(data.slot, domain, child_data, 0, page_size, map_right::read_write), "data");
        const Extent stack = must(node_.allocate(4 * page_size), "child stack");
        must(
            map(stack.slot, domain, child_stack - stack.size, 0, stack.size, map_right::read_write),
            "child stack");
        thread_storage_ = must(node_.allocate(storage_thread), "child thread");
        thread = node_.new_slot();
        must(create_thread(thread, thread_storage_.slot, domain, init_slot::first_core + core,
                           priority,
                           child_code + (reinterpret_cast<std::uint64_t>(function) - from),
                           child_stack - 8, child_data),
             "child thread");
    }
    void start() { must(thread_ctl(thread, ThreadOp::start), "child start"); }
    // Everything the child has and is.
    void destroy() {
        must(revoke(thread_storage_.slot), "child end");
        must(revoke(storage_), "child end");
    }

    // What its Thread object is in.
    const Extent& thread_extent() const { return thread_storage_; }
    Slot thread_storage() const { return thread_storage_.slot; }

    Slot domain = no_slot, thread = no_slot;
    Extent data;
    Shared* shared = nullptr;

  private:
    init::Node& node_;
    Slot storage_ = no_slot;
    Extent thread_storage_;
};

}  // namespace margay::test
