// What a guest finds of what it expects, a line each.
#pragma once
#include "tests/guests/guest.hpp"

namespace margay::guest {

inline unsigned failures = 0;

inline void check(const char* what, bool good) {
    if (!good) ++failures;
    say("{} {}\n", good ? "ok" : "FAILED", what);
}

}  // namespace margay::guest
