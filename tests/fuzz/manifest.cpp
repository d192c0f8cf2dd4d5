// The node manifest: any text gives a manifest within its limits or errors with lines, whose first is the same
// whether one or all are asked for.
#include "servers/init/manifest.hpp"

#include <cstdlib>
#include <cstring>

namespace {
void expect(bool condition) {
    if (!condition) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace margay::init;
    static VmConfig room[2][8];
    static Manifest m;
    m.vms = room[0];
    const ManifestError e = parse_manifest({reinterpret_cast<const char*>(data), size}, m);
    static Manifest other;
    other.vms = room[1];
    ManifestError all[20];
    const std::size_t count =
        check_manifest({reinterpret_cast<const char*>(data), size}, other, all);
    expect((count == 0) == (e.what == nullptr) && count <= 20);
    for (std::size_t i = 0; i < count; ++i)
        expect(all[i].what != nullptr && all[i].line >= 1 &&
               std::memchr(all[i].key, 0, 32) != nullptr);
    if (count != 0)
        expect(all[0].what == e.what && all[0].line == e.line &&
               std::strcmp(all[0].key, e.key) == 0);
    expect(other.vm_count <= 8);
    if (e.what != nullptr) {
        expect(e.line >= 1 && e.what[0] != 0);
        expect(std::memchr(e.key, 0, sizeof(e.key)) != nullptr);
        return 0;
    }
    expect(m.vm_count <= 8);
    for (unsigned i = 0; i < m.vm_count; ++i) {
        const VmConfig& vm = m.vms[i];
        expect(vm.name[0] != 0 && vm.kernel[0] != 0);
        expect(vm.memory_mib >= 1 && vm.memory_mib <= max_vm_memory_mib && vm.core < 64);
        expect(std::memchr(vm.append, 0, sizeof(vm.append)) != nullptr);
    }
    return 0;
}
