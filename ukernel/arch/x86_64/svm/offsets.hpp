// Offsets that enter.S shares with C++; checked in enter.cpp.
#pragma once
#include "ukernel/arch/x86_64/offsets.hpp"

#define CORE_HOST_STATE CORE_BACKEND
#define VCPU_VMCB       VCPU_GUEST
