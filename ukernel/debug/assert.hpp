// Invariants of the kernel. MARGAY_EXPECT stays in release builds; MARGAY_DEBUG_EXPECT does not.
#pragma once

namespace margay {

[[noreturn]] void panic(const char* what, const char* file, int line);

}  // namespace margay

#define MARGAY_EXPECT(condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) [[unlikely]]                                                             \
            ::margay::panic(#condition, __FILE__, __LINE__);                                       \
    } while (false)

#ifdef MARGAY_DEBUG
#define MARGAY_DEBUG_EXPECT(condition) MARGAY_EXPECT(condition)
#else
#define MARGAY_DEBUG_EXPECT(condition)                                                             \
    do {                                                                                           \
    } while (false)
#endif
