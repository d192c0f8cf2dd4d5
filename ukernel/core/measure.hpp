// How long locks are held and interrupts stay off, at most: in the kernel that ./margay bench builds for that
// (MARGAY_MEASURE). In any other, nothing. Each new maximum is written to the emulator's debug port, as a line
// of its kind and the ticks. Fault reports, which are written by polling, are not counted.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/cpu.hpp"

#ifdef MARGAY_MEASURE
#include "proto/kernel.hpp"
#endif

namespace margay::measure {

#ifdef MARGAY_MEASURE

struct Longest {
    std::uint64_t interrupts_off, estate, guard;
};
inline Longest longest{};
// By core id. Clocks stand still while their core waits for others.
inline std::uint64_t entered_at[max_cores]{}, waited[max_cores]{};

constexpr std::uint64_t longest_alone = 100'000;
unsigned here();  // this core's id
unsigned cores();
inline bool running = false;
inline std::uint64_t clock() { return cpu::rdtsc() - (running ? waited[here()] : 0); }
// What may take time of other cores: its lifetime does not count.
class Elsewhere {
  public:
    Elsewhere() = default;
    ~Elsewhere() {
        if (running) waited[here()] += cpu::rdtsc() - begin_;
    }
    Elsewhere(const Elsewhere&) = delete;
    Elsewhere& operator=(const Elsewhere&) = delete;

  private:
    std::uint64_t begin_ = cpu::rdtsc();
};

inline void report(std::uint64_t& most, char kind, std::uint64_t begin) {
    const std::uint64_t spent = clock() - begin;
    if (begin == 0 || spent <= most || (spent > longest_alone && cores() > 1)) return;
    most = spent;
    char digits[20];
    unsigned n = 0;
    for (std::uint64_t rest = spent; rest != 0; rest /= 10)
        digits[n++] = static_cast<char>('0' + rest % 10);
    cpu::out8(0xe9, static_cast<std::uint8_t>(kind));
    while (n != 0) cpu::out8(0xe9, static_cast<std::uint8_t>(digits[--n]));
    cpu::out8(0xe9, '\n');
}

// This core came into the kernel, or begins anew after a report.
inline void entered(unsigned core) {
    running = true;
    entered_at[core] = clock();
}
// It lets interrupts in.
inline void left(unsigned core) {
    report(longest.interrupts_off, 'I', entered_at[core]);
    entered_at[core] = 0;
}

// One hold of a lock.
class Hold {
  public:
    void begin() { begin_ = clock(); }
    void end_of_estate() const { report(longest.estate, 'E', begin_); }
    void end_of_guard() const { report(longest.guard, 'G', begin_); }

  private:
    std::uint64_t begin_ = 0;
};

#else

struct Elsewhere {
    Elsewhere() {}
};
inline void entered(unsigned) {}
inline void left(unsigned) {}
class Hold {
  public:
    void begin() {}
    void end_of_estate() const {}
    void end_of_guard() const {}
};

#endif

// In a loop that waits for another core.
inline void pause() {
    const Elsewhere turn;
    cpu::pause();
}

}  // namespace margay::measure
