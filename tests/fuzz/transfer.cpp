// Modules over the control line: whatever pieces come, in whatever order, nothing is written outside of a module, and
// what is published is what was announced.
#include <memory>
#include <string>

#include "proto/frame.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/unit/init/fake_module_room.hpp"

namespace {

using namespace margay;
using namespace margay::init;

const std::string contents[] = {"a", "the first one", std::string(300, 'x'),
                                "another of no length"};
constexpr const char* names[] = {"m", "n", "vmm", "a b"};

void check(FakeModuleRoom& room, const ModuleStore& store) {
    for (unsigned i = 0; i < max_put_modules; ++i) {
        const ModuleStore::Entry* e = store.entry(i);
        fuzz::require((e != nullptr) == room.memory.contains(i),
                      "memory is held for what is known");
        if (e == nullptr) continue;
        fuzz::require(e->next <= e->bytes, "no more than all has come");
        fuzz::require((e->at == nullptr) == room.published.contains(i),
                      "what is whole is published");
        if (e->at == nullptr)
            fuzz::require(frame::crc_of(room.content(i)) == e->expected, "as it was announced");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input{data, size};
    FakeModuleRoom room;
    room.most = 1000;
    const auto store = std::make_unique<ModuleStore>(room, 1);
    std::uint64_t now = 1;
    while (!input.empty()) {
        const std::uint8_t what = input.take<std::uint8_t>();
        const std::string& content = contents[what >> 3 & 3];
        const char* name = names[what >> 5 & 3];
        Arrival arrival;
        switch (what & 7) {
        case 0:
        case 1:
            (void)store->put(name, content.size(), frame::crc_of(content), (what & 1) != 0, now,
                             arrival);
            break;
        case 2:
            (void)store->put(name, input.take<std::uint64_t>(), input.take<std::uint32_t>(), false,
                             now, arrival);
            break;
        case 3: (void)store->remove(name); break;
        case 4:
            now += input.take<std::uint32_t>();
            store->look(now);
            break;
        case 5: room.used = room.used.empty() ? name : ""; break;
        case 6: {  // the right bytes, somewhere
            const std::uint32_t transfer = input.take<std::uint8_t>();
            const std::size_t offset = input.take<std::uint16_t>() % (content.size() + 1);
            (void)store->take(transfer, offset, content.substr(offset, input.take<std::uint8_t>()),
                              now, arrival);
            break;
        }
        default: {
            const std::uint32_t transfer = input.take<std::uint8_t>();
            const std::uint64_t offset = input.take<std::uint64_t>();
            const auto bytes = input.take_bytes(input.take<std::uint8_t>());
            (void)store->take(transfer, offset,
                              {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, now,
                              arrival);
        }
        }
        check(room, *store);
    }
    return 0;
}
