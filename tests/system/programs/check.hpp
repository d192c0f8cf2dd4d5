// Checks of test programs in init's place: each failing one says where, the end says how many.
#pragma once
#include "tests/support.hpp"

namespace margay::test {

inline unsigned checks = 0, failures = 0;

inline void expect(bool good, const char* what, const char* file, int line) {
    ++checks;
    if (good) return;
    ++failures;
    say("FAILED {}:{}: {}\n", file, line, what);
}
inline void expect_status(Status got, Status wanted, const char* what, const char* file, int line) {
    ++checks;
    if (got == wanted) return;
    ++failures;
    say("FAILED {}:{}: {}: got \"{}\", wanted \"{}\"\n", file, line, what, to_text(got),
        to_text(wanted));
}

[[noreturn]] inline void finish() {
    say("{} checks, {} failed\n", checks, failures);
    end(failures == 0 && checks != 0);
}

}  // namespace margay::test

#define EXPECT(condition) ::margay::test::expect((condition), #condition, __FILE__, __LINE__)
#define EXPECT_STATUS(call, wanted)                                                                \
    ::margay::test::expect_status((call), (wanted), #call, __FILE__, __LINE__)
