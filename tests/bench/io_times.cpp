// Reads a block device in a guest: what each read took. Runs under Margay and on the emulated machine itself.
//
// io_times DEVICE random|sequential BYTES COUNT PASSES prints for each pass, in ticks of the time-stamp counter,
//
//     io: KIND SHORTEST MEDIAN COUNT INTERRUPTS
//
// where the interrupts are all that the processors took from the device's driver meanwhile.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

std::uint64_t ticks() { return __builtin_ia32_rdtsc(); }

// The lines of /proc/interrupts that name the driver, over all processors.
std::uint64_t interrupts(const char* driver) {
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

}  // namespace

int main(int count, char** arguments) {
    if (count != 6) return 2;
    const char* kind = arguments[2];
    const std::uint64_t bytes = std::strtoull(arguments[3], nullptr, 10);
    const std::uint64_t reads = std::strtoull(arguments[4], nullptr, 10);
    const int passes = std::atoi(arguments[5]);
    const int device = open(arguments[1], O_RDONLY | O_DIRECT);
    if (device < 0 || bytes == 0) return std::perror(arguments[1]), 1;
    const std::uint64_t blocks = static_cast<std::uint64_t>(lseek(device, 0, SEEK_END)) / bytes;
    void* const buffer = std::aligned_alloc(4096, bytes);
    std::uint64_t state = 88172645463325252;
    std::vector<std::uint64_t> took(reads);
    for (int pass = 0; pass < passes; ++pass) {
        const std::uint64_t before = interrupts("nvme");
        for (std::uint64_t i = 0; i < reads; ++i) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            const std::uint64_t block = kind[0] == 'r' ? state % blocks : i % blocks;
            const std::uint64_t begin = ticks();
            const ssize_t got = pread(device, buffer, bytes, static_cast<off_t>(block * bytes));
            took[i] = ticks() - begin;
            if (got != static_cast<ssize_t>(bytes)) return std::perror("read"), 1;
        }
        const std::uint64_t came = interrupts("nvme") - before;
        std::sort(took.begin(), took.end());
        if (reads != 0)
            std::printf("io: %s %ju %ju %ju %ju\n", kind, static_cast<std::uintmax_t>(took[0]),
                        static_cast<std::uintmax_t>(took[reads / 2]),
                        static_cast<std::uintmax_t>(reads), static_cast<std::uintmax_t>(came));
    }
    return 0;
}
