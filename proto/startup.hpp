// The start-up block: what a server's creator tells it, one read-only page at startup_address.
#pragma once
#include <cstdint>

#include "proto/kernel.hpp"

namespace margay {

constexpr std::uint64_t startup_address = 0x1000'0000;
constexpr std::uint64_t startup_magic = 0x7472'6174'7379'614d;  // "Maystart"

// One thing given: a capability, a mapping, a number, or several of these.
struct StartupItem {
    char name[24];
    Slot slot;  // no_slot if it is no capability
    std::uint32_t reserved;
    std::uint64_t address;  // 0 if it is not mapped
    std::uint64_t size;     // bytes
    std::uint64_t value;
};
static_assert(sizeof(StartupItem) == 56);

constexpr unsigned startup_items = 70;

struct Startup {
    std::uint64_t magic;
    std::uint32_t abi;
    std::uint32_t count;
    char program[16];
    std::uint64_t tsc_khz;
    Slot domain;  // the server's own Domain, with right::map and right::grant; no_slot: not given
    Slot first_free;  // slots from here on are empty
    StartupItem item[startup_items];
};
static_assert(sizeof(Startup) <= page_size);

}  // namespace margay
