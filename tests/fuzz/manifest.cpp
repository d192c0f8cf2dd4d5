// The node manifest: any text gives a manifest within its limits or an error with a line.
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
    static Manifest m;
    const ManifestError e = parse_manifest({reinterpret_cast<const char*>(data), size}, m);
    if (e.what != nullptr) {
        expect(e.line >= 1 && e.what[0] != 0);
        expect(std::memchr(e.key, 0, sizeof(e.key)) != nullptr);
        return 0;
    }
    expect(m.vm_count <= max_vms);
    for (unsigned i = 0; i < m.vm_count; ++i) {
        const VmConfig& vm = m.vms[i];
        expect(vm.name[0] != 0 && vm.kernel[0] != 0);
        expect(vm.memory_mib >= 1 && vm.memory_mib <= max_vm_memory_mib && vm.core < 64);
        expect(std::memchr(vm.append, 0, sizeof(vm.append)) != nullptr);
    }
    return 0;
}
