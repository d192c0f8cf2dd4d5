// Why something was not done: a kind, for programs, and a line of text, for people.
#pragma once
#include "servers/init/text.hpp"

namespace margay::init {

enum class FailureKind : std::uint8_t {
    none,
    wrong_state,  // the VM is not in a state in which that can be done
    busy,         // something else is under way for that VM
    not_found,
    no_memory,
    failed,  // it was begun and did not come to its end
};

struct Failure {
    FailureKind kind = FailureKind::none;
    char text[160] = {};

    bool is_set() const { return kind != FailureKind::none; }
    template <typename... Arguments>
    void set(FailureKind k, std::string_view format, const Arguments&... arguments) {
        kind = k;
        write(text, format, arguments...);
    }
};

}  // namespace margay::init
