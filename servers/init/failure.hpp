// Why something was not done: a kind, for programs, and a line of text, for people.
#pragma once
#include "servers/init/text.hpp"

namespace margay::init {

enum class FailureKind : std::uint8_t {
    none,
    usage,        // what was asked for makes no sense
    wrong_state,  // the VM is not in a state in which that can be done
    busy,         // something else is under way for that VM
    not_found,
    no_memory,
    failed,  // it was begun and did not come to its end
};

// As a reply has it.
constexpr const char* to_text(FailureKind k) {
    switch (k) {
    case FailureKind::none: return "";
    case FailureKind::usage: return "usage";
    case FailureKind::wrong_state: return "state";
    case FailureKind::busy: return "busy";
    case FailureKind::not_found: return "not found";
    case FailureKind::no_memory: return "resources";
    case FailureKind::failed: break;
    }
    return "failed";
}

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
