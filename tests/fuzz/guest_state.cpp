// A VMM's reply with any state: what is accepted must be nothing that the manual calls illegal (AMD APM
// vol. 2 §15.5.1, §15.20), written down here once more.
//
// Input: System, then segments, tables, PAT and event, as they lie in memory.
#include "tests/fuzz/input.hpp"

#include "ukernel/arch/x86_64/guest_state.hpp"

using namespace margay;
using margay::fuzz::Input;
using margay::fuzz::require;

namespace {

bool set(std::uint64_t word, unsigned bit) { return (word >> bit & 1) != 0; }

bool canonical(std::uint64_t a, bool five_levels) {
    const std::uint64_t top = a >> (five_levels ? 56 : 47);
    return top == 0 || top == (five_levels ? 0xffu : 0x1'ffffu);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input{data, size};
    const auto s = input.take<guest_state::System>();
    struct Rest {
        SegmentState segments[6], tables[4];
        std::uint64_t pat, event;
    };
    const auto rest = input.take<Rest>();
    const guest_state::Limits limits{0xf7ffff, 48};
    const bool five = set(s.cr4, 12);
    if (is_valid(s, limits)) {
        const bool pe = set(s.cr0, 0), pg = set(s.cr0, 31), lma = pg && set(s.efer, 8);
        require(!set(s.cr0, 29) || set(s.cr0, 30), "NW without CD");
        require(s.cr0 >> 32 == 0 && s.cr4 >> 32 == 0, "upper halves");
        require(!pg || pe, "PG without PE");
        require(!lma || set(s.cr4, 5), "LME and PG without PAE");
        require(!(lma && set(s.cs, 9) && set(s.cs, 10)), "CS.L and CS.D");
        require(s.cr3 >> 52 == 0, "CR3");
        require(canonical(s.rip, five), "RIP");
        require(!(lma && set(s.rflags, 17)), "virtual 8086 in long mode");
    }
    if (are_valid(rest.segments, s))
        for (const SegmentState& segment : rest.segments)
            require(segment.attributes < 0x1000 && canonical(segment.base, five), "segment");
    if (are_valid(rest.tables, s))
        for (const SegmentState& table : rest.tables)
            require(table.attributes < 0x1000 && canonical(table.base, five), "table");
    if (guest_state::is_valid_pat(rest.pat))
        for (unsigned i = 0; i < 8; ++i)
            require((0xf3 >> (rest.pat >> 8 * i & 0xff) & 1) != 0, "memory type");
    if (guest_state::is_valid_event(rest.event, s) && set(rest.event, 31)) {
        const unsigned type = rest.event >> 8 & 7, vector = rest.event & 0xff;
        require(type >= 2 && type <= 4, "type of event");
        require((rest.event & 0x7ffff000) == 0, "reserved bits of event");
        require(type != 3 || (vector < 32 && vector != 2), "exception");
        require(type == 3 || !set(rest.event, 11), "error code");
    }
    return 0;
}
