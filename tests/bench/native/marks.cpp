// What an operating system does for its programs, timed: system calls, page faults, processes, pipes, files. For
// ./margay bench native, which runs it on the machine itself and in a guest. The results come at the end: each
// character on a console of a guest is an exit.
//
// One line for each: mark NAME NANOSECONDS, the least of several repeats (of timers the mean).
#include <fcntl.h>
#include <omp.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int repeats = 5;
constexpr std::size_t page = 4096;

[[noreturn]] void fail(const char* what) {
    std::perror(what);
    std::exit(1);
}

double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec);
}

struct Mark {
    const char* name;
    double nanoseconds;  // of one
};
std::vector<Mark> marks;

// work(n) does n of them.
template <typename Work>
void measure(const char* name, int n, Work work) {
    work(std::max(1, n / 10));
    double least = 1e18;
    for (int i = 0; i < repeats; ++i) {
        const double begin = now();
        work(n);
        least = std::min(least, (now() - begin) / n);
    }
    marks.push_back({name, least});
}

void wait_for(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) fail("a child");
}

void memory_copy(int n) {
    static std::vector<char> from(1 << 20, 1), to(1 << 20);
    for (int i = 0; i < n; ++i) {
        std::memcpy(to.data(), from.data(), from.size());
        asm volatile("" : : "r"(to.data()) : "memory");
    }
}

void page_faults(int n) {
    auto* const at = static_cast<volatile char*>(mmap(nullptr, static_cast<std::size_t>(n) * page,
                                                      PROT_READ | PROT_WRITE,
                                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (at == MAP_FAILED) fail("mmap");
    // Small pages: the number of faults is to be known.
    madvise(const_cast<char*>(at), static_cast<std::size_t>(n) * page, MADV_NOHUGEPAGE);
    for (int i = 0; i < n; ++i) at[static_cast<std::size_t>(i) * page] = 1;
    munmap(const_cast<char*>(at), static_cast<std::size_t>(n) * page);
}

void forks(int n) {
    for (int i = 0; i < n; ++i) {
        const pid_t child = fork();
        if (child == 0) _exit(0);
        wait_for(child);
    }
}

void execs(int n) {
    for (int i = 0; i < n; ++i) {
        char name[] = "marks", nothing[] = "nothing";
        char* const arguments[] = {name, nothing, nullptr};
        pid_t child;
        if (posix_spawn(&child, "/bin/marks", nullptr, nullptr, arguments, environ) != 0)
            fail("spawn");
        wait_for(child);
    }
}

void pipes(int n) {
    int fd[2];
    if (pipe(fd) != 0) fail("pipe");
    char byte = 1;
    for (int i = 0; i < n; ++i)
        if (write(fd[1], &byte, 1) != 1 || read(fd[0], &byte, 1) != 1) fail("pipe");
    close(fd[0]);
    close(fd[1]);
}

// A byte there and back between two processes.
void context_switches(int n) {
    int there[2], back[2];
    if (pipe(there) != 0 || pipe(back) != 0) fail("pipe");
    char byte = 1;
    const pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < n; ++i)
            if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1) _exit(1);
        _exit(0);
    }
    for (int i = 0; i < n; ++i)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) fail("pipe");
    wait_for(child);
    for (const int fd : {there[0], there[1], back[0], back[1]}) close(fd);
}

void files(int n) {
    static char block[page];
    const int fd = open("/tmp/file", O_CREAT | O_RDWR | O_TRUNC, 0600);
    if (fd < 0) fail("/tmp/file");
    for (int i = 0; i < n; ++i)
        if (pwrite(fd, block, sizeof(block), static_cast<off_t>(i) * static_cast<off_t>(page)) < 0)
            fail("write");
    close(fd);
    unlink("/tmp/file");
}

void parallel_regions(int n) {
    int sum = 0;
    for (int i = 0; i < n; ++i) {
#pragma omp parallel
#pragma omp atomic
        sum += 1;
    }
}

// How much later than asked for a sleep ends: its mean, of n sleeps of a millisecond.
double sleep_lateness(int n) {
    constexpr double asked = 1e6;
    const timespec t{0, static_cast<long>(asked)};
    const double begin = now();
    for (int i = 0; i < n; ++i) clock_nanosleep(CLOCK_MONOTONIC, 0, &t, nullptr);
    return (now() - begin) / n - asked;
}

// A timer of 10 kHz: how many of its expirations a read finds, 1 if none is late by a period. By a thousand.
double expirations(int reads) {
    const int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    const itimerspec period{{0, 100'000}, {0, 100'000}};
    if (fd < 0 || timerfd_settime(fd, 0, &period, nullptr) != 0) fail("timerfd");
    std::uint64_t sum = 0;
    for (int i = 0; i < reads; ++i) {
        std::uint64_t found;
        if (read(fd, &found, sizeof(found)) != sizeof(found)) fail("timerfd");
        sum += found;
    }
    close(fd);
    return 1000 * static_cast<double>(sum) / reads;
}

}  // namespace

int main(int argc, char**) {
    if (argc > 1) return 0;
    measure("memcpy_1m", 20, memory_copy);
    measure("getppid", 20000, [](int n) {
        for (int i = 0; i < n; ++i) syscall(SYS_getppid);
    });
    measure("clock_gettime", 20000, [](int n) {
        for (int i = 0; i < n; ++i) now();
    });
    measure("page_fault", 2000, page_faults);
    measure("fork", 50, forks);
    measure("exec", 50, execs);
    measure("pipe", 5000, pipes);
    measure("context_switch", 2000, context_switches);
    measure("sched_yield", 10000, [](int n) {
        for (int i = 0; i < n; ++i) sched_yield();
    });
    measure("tmpfs_write_4k", 1000, files);
    measure("openmp_region", 5000, parallel_regions);
    marks.push_back({"sleep_lateness", sleep_lateness(500)});
    marks.push_back({"timer_expirations", expirations(2000)});
    for (const Mark& m : marks) std::printf("mark %s %.1f\n", m.name, m.nanoseconds);
    return 0;
}
