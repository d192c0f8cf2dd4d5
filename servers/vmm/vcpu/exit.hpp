// One VM exit as its handler sees it, and the answer it builds (proto/exit.hpp).
#pragma once
#include "libipc/system_call.hpp"
#include "proto/exit.hpp"

namespace margay::vmm {

struct Exit {
    ExitClass exit_class;
    std::uint64_t flags;
    std::uint64_t sequence, rip, detail0, detail1, rax, rflags;

    explicit Exit(const Message& m)
        : exit_class{static_cast<ExitClass>(m.label & 0xff)},
          flags{m.label >> 8},
          sequence{m.words[0]},
          rip{m.words[1]},
          detail0{m.words[2]},
          detail1{m.words[3]},
          rax{m.words[4]},
          rflags{m.words[5]} {}
};

struct Reply {
    Action action = Action::advance;
    std::uint64_t dirty = 0;
    std::uint64_t rax = 0;
    std::uint64_t vector = no_vector;
    std::uint64_t deadline = ~0ull;

    void set_rax(std::uint64_t value) {
        rax = value;
        dirty |= state::rax_word;
    }
    Message message(std::uint64_t sequence) const {
        return {static_cast<std::uint64_t>(action), {sequence, dirty, rax, vector, deadline, 0}};
    }
};

}  // namespace margay::vmm
