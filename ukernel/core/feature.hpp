// What the processors offer, read once at start.
#pragma once
#include <cstdint>

#include "ukernel/arch/x86_64/xsave_layout.hpp"

namespace margay {

struct Features {
    bool svm = false;
    bool next_rip = false;  // SVM saves the next instruction's address
    std::uint32_t asids = 0;
    bool gigabyte_pages = false;
    bool pcid = false, invpcid = false;
    bool smep = false, smap = false, umip = false;
    bool machine_check = false;
    std::uint64_t physical_bits = 36;
    // QEMU's software emulation (7.2): its VM exit loads the host's CR0 while the guest's EFER.LME and CR4
    // are still there, and silently leaves paging off if the guest had no paging, LME and no PAE. It
    // also lets a guest clear PAE in long mode. The node dies of it.
    bool pae_unchecked = false;
    // The same one delivers an external interrupt that is injected (EVENTINJ) twice at times.
    bool injects_twice = false;
    std::uint64_t guest_cr4 = 0;       // bits of CR4 that a guest may set
    std::uint64_t guest_efer = 0x901;  // likewise of EFER: SCE, LME, NXE
    XsaveLayout xsave;
    bool tsc_aux = false;  // there are RDTSCP and TSC_AUX
    std::uint64_t tsc_khz = 0;
    bool constant_tsc = false;  // whatever the processor's power and performance states
    char name[49] = {};
};

const Features& features();
// Fills them in; tsc_khz comes later (arch/x86_64/clock.cpp).
void detect_features();
void set_tsc_khz(std::uint64_t khz);

}  // namespace margay
