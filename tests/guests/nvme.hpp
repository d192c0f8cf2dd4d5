// PCI functions of a test guest, and an NVMe controller that is made to write 4 KiB wherever one wants.
#pragma once
#include "tests/guests/guest.hpp"

namespace margay::guest {

inline void pause_for(std::uint64_t ticks) {
    for (const std::uint64_t begin = rdtsc(); rdtsc() - begin < ticks;) asm volatile("pause");
}

template <typename T>
volatile T& at(std::uint64_t address) {
    return *reinterpret_cast<volatile T*>(address);
}

// The configuration space of a function on bus 0.
class Function {
  public:
    static constexpr std::uint32_t memory = 2, master = 4;

    constexpr explicit Function(unsigned device) : select_{0x80000000 | device << 11} {}

    std::uint32_t read(unsigned reg) const {
        out32(0xcf8, select_ | (reg & 0xfc));
        return in32(0xcfc);
    }
    void write(unsigned reg, std::uint32_t value) const {
        out32(0xcf8, select_ | (reg & 0xfc));
        out32(0xcfc, value);
    }
    void command(std::uint32_t value) const { write(4, value); }
    // Where BAR 0 is: while nothing decodes.
    void place(std::uint64_t base) const {
        command(0);
        write(0x10, static_cast<std::uint32_t>(base));
        command(memory | master);
    }
    // 0: it has none of these.
    unsigned capability(unsigned id) const {
        for (unsigned reg = read(0x34) & 0xfc; reg != 0; reg = read(reg) >> 8 & 0xfc)
            if ((read(reg) & 0xff) == id) return reg;
        return 0;
    }

  private:
    std::uint32_t select_;
};

class Nvme {
  public:
    static constexpr std::uint64_t page = 4096;
    enum class Outcome : std::uint8_t { done, refused, silent };

    constexpr explicit Nvme(std::uint64_t base) : base_{base} {}

    // The controller begins anew, with its queues where they belong or elsewhere.
    void start(std::uint64_t submissions = reinterpret_cast<std::uint64_t>(submission)) {
        constexpr unsigned configuration = 0x14, sizes = 0x24, queue = 0x28, completions = 0x30;
        constexpr std::uint32_t enable = 1, entries = 6 << 16 | 4 << 20;
        at<std::uint32_t>(base_ + configuration) = 0;
        await_ready(0);
        for (std::uint64_t i = 0; i < page / 4; ++i)
            at<std::uint32_t>(completion_base() + 4 * i) = 0;
        at<std::uint32_t>(base_ + sizes) = (length - 1) << 16 | (length - 1);
        set(queue, submissions);
        set(completions, completion_base());
        at<std::uint32_t>(base_ + configuration) = enable | entries;
        await_ready(1);
        tail_ = head_ = 0;
        phase_ = 1;
    }
    // Has it write what it says of itself to one or two pages: begun only.
    void identify(std::uint64_t to, std::uint64_t rest = 0) {
        volatile std::uint32_t* entry = submission[tail_];
        for (unsigned i = 0; i < 16; ++i) entry[i] = 0;
        entry[0] = 6;
        entry[6] = static_cast<std::uint32_t>(to);
        entry[7] = static_cast<std::uint32_t>(to >> 32);
        entry[8] = static_cast<std::uint32_t>(rest);
        entry[9] = static_cast<std::uint32_t>(rest >> 32);
        entry[10] = 1;
        tail_ = (tail_ + 1) % length;
        ring();
    }
    void ring() { at<std::uint32_t>(base_ + 0x1000) = tail_; }
    // What became of the oldest; `patience` in ticks. Without any it waits as long as the test's own limit lets it.
    Outcome await(std::uint64_t patience = 0) {
        const std::uint64_t begin = rdtsc();
        volatile std::uint32_t* entry = completion[head_];
        while ((entry[3] >> 16 & 1) != phase_) {
            if (patience != 0 && rdtsc() - begin > patience) return Outcome::silent;
            asm volatile("pause");
        }
        const bool good = entry[3] >> 17 == 0;
        head_ = (head_ + 1) % length;
        if (head_ == 0) phase_ ^= 1;
        at<std::uint32_t>(base_ + 0x1004) = head_;
        return good ? Outcome::done : Outcome::refused;
    }

  private:
    static constexpr unsigned length = 64;
    alignas(4096) inline static volatile std::uint32_t submission[length][16];
    alignas(4096) inline static volatile std::uint32_t completion[page / 16][4];

    static std::uint64_t completion_base() { return reinterpret_cast<std::uint64_t>(completion); }
    void set(unsigned reg, std::uint64_t value) {
        at<std::uint32_t>(base_ + reg) = static_cast<std::uint32_t>(value);
        at<std::uint32_t>(base_ + reg + 4) = static_cast<std::uint32_t>(value >> 32);
    }
    void await_ready(std::uint32_t wanted) {
        while ((at<std::uint32_t>(base_ + 0x1c) & 1) != wanted) asm volatile("pause");
    }

    std::uint64_t base_;
    unsigned tail_ = 0, head_ = 0;
    std::uint32_t phase_ = 1;
};

}  // namespace margay::guest
