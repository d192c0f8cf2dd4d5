// The stream of a saved VM, from outside: whatever it is, nothing is written beyond the VM's pages, and what is whole has
// each page. Records' CRCs are made right, so that what is behind them is reached.
#include <memory>
#include <string>
#include <vector>

#include "servers/init/saved/reader.hpp"
#include "tests/fuzz/input.hpp"

namespace {

using namespace margay;
using namespace margay::init;

struct Room : saved::Target {
    std::vector<std::byte> block;
    Failure open(const saved::Header&, std::uint32_t pages, std::byte*& to) override {
        if (pages > 300) {
            Failure f;
            f.set(FailureKind::no_memory, "too large");
            return f;
        }
        block.assign(std::size_t{pages} * page_size, std::byte{1});
        to = block.data();
        return {};
    }
};

// Length and CRC of each record as they should be.
std::string mend(std::string s) {
    for (std::size_t at = 0; at + saved::head_bytes <= s.size();) {
        saved::Record r = saved::record_at(&s[at]);
        r.length = std::min<std::size_t>(r.length % 64, s.size() - at - saved::head_bytes);
        saved::seal(r, &s[at]);
        at += saved::head_bytes + r.length;
    }
    return s;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input{data, size};
    const bool mends = input.take<std::uint8_t>() % 4 != 0;
    const std::size_t step = 1 + input.take<std::uint8_t>();
    const auto rest = input.take_rest();
    std::string s{rest.begin(), rest.end()};
    if (mends) s = mend(s);
    const auto reader = std::make_unique<saved::Reader>(3);
    Room room;
    for (std::size_t at = 0; at < s.size(); at += step) {
        const Failure f = reader->take(std::string_view{s}.substr(at, step), room);
        fuzz::require(!f.is_set() || f.text[0] != 0, "a refusal has a reason");
        fuzz::require(std::uint64_t{reader->page()} * page_size <= room.block.size(),
                      "within the block");
        if (f.is_set()) break;
        if (at % 5 == 4) reader->go_on();
    }
    if (reader->is_whole())
        fuzz::require(std::uint64_t{reader->page()} * page_size == room.block.size(),
                      "each page came");
    return 0;
}
