// What programs share that time a device in a guest, under Margay and on the emulated machine itself. For each pass they print, in
// ticks of the time-stamp counter,
//
//     io: KIND SHORTEST MEDIAN COUNT INTERRUPTS
//
// where the interrupts are all that the processors took from the device's driver meanwhile.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace margay::bench {

inline std::uint64_t ticks() { return __builtin_ia32_rdtsc(); }

// The lines of /proc/interrupts that name the driver, over all processors.
inline std::uint64_t interrupts(const char* driver) {
    std::FILE* file = std::fopen("/proc/interrupts", "r");
    if (file == nullptr) return 0;
    std::uint64_t sum = 0;
    char line[4096];
    while (std::fgets(line, sizeof(line), file) != nullptr) {
        if (std::strstr(line, driver) == nullptr) continue;
        char* at = std::strchr(line, ':');
        if (at == nullptr) continue;
        for (++at;;) {
            char* end;
            const std::uint64_t count = std::strtoull(at, &end, 10);
            if (end == at) break;
            sum += count;
            at = end;
        }
    }
    std::fclose(file);
    return sum;
}

inline void tell(const char* kind, std::vector<std::uint64_t>& took, std::uint64_t interrupts) {
    if (took.empty()) return;
    std::sort(took.begin(), took.end());
    std::printf("io: %s %ju %ju %ju %ju\n", kind, static_cast<std::uintmax_t>(took[0]),
                static_cast<std::uintmax_t>(took[took.size() / 2]),
                static_cast<std::uintmax_t>(took.size()), static_cast<std::uintmax_t>(interrupts));
}

}  // namespace margay::bench
