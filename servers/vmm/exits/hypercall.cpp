// Class hypercall: the KVM signature announces none that we offer; the answer is KVM's "no such call".
#include "servers/vmm/vcpu/machine.hpp"

namespace margay::vmm {

void Machine::on_hypercall(const Exit&, Reply& r) {
    constexpr std::uint64_t no_such_call = static_cast<std::uint64_t>(-1000);
    r.set_rax(no_such_call);
}

}  // namespace margay::vmm
