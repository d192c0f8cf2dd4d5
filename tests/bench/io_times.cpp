// Reads a block device in a guest: what each read took.
//
// io_times DEVICE random|sequential BYTES COUNT PASSES
#include "io_times.hpp"

#include <fcntl.h>
#include <unistd.h>

using namespace margay::bench;

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
        tell(kind, took, interrupts("nvme") - before);
    }
    return 0;
}
