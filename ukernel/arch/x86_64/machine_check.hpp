// Machine checks (AMD APM vol. 2 chapter 9).
#pragma once
#include <cstdint>

namespace margay::machine_check {

namespace mcg_status {
constexpr std::uint64_t restart_valid = 1 << 0;
constexpr std::uint64_t in_progress = 1 << 2;
}  // namespace mcg_status

namespace bank_status {
constexpr std::uint64_t valid = 1ull << 63;
constexpr std::uint64_t uncorrected = 1ull << 61;
constexpr std::uint64_t misc_valid = 1ull << 59;
constexpr std::uint64_t address_valid = 1ull << 58;
constexpr std::uint64_t context_corrupt = 1ull << 57;
}  // namespace bank_status

enum class Severity { none, corrected, fatal };

// What a bank reports.
constexpr Severity severity_of(std::uint64_t bank) {
    if ((bank & bank_status::valid) == 0) return Severity::none;
    const bool lost = (bank & (bank_status::uncorrected | bank_status::context_corrupt)) != 0;
    return lost ? Severity::fatal : Severity::corrected;
}

// On each core, if the processor has them: every error is reported, what firmware left is cleared.
void enable();

// Vector 18 arrived, on this core. False if no machine check is in progress: it was some interrupt. Corrected
// errors are counted; after others the node stops.
bool serve();

}  // namespace margay::machine_check
