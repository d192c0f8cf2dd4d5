#include "servers/init/power.hpp"

#include "libipc/log.hpp"
#include "libipc/system_call.hpp"

namespace margay::init {

void power_off(Node&, std::uint16_t exit_port, bool good) {
    if (exit_port != 0) (void)port_write(init_slot::ports, exit_port, 1, good ? 0x10 : 0x11);
    log("margay: this machine cannot be turned off by software\n");
    for (;;) asm volatile("pause");
}

}  // namespace margay::init
