// A saved VM as a stream of records, and as the file that ctl save makes of it (docs/manual/saved-vms.md).
//
//   0   type
//   1   0
//   2   length of the payload, 16 bits     all numbers lowest byte first
//   4   page, 32 bits: the first one that the record is about
//   8   pages, 32 bits: how many
//   12  CRC-32 (IEEE 802.3) of bytes 0 to 11 and the payload
//   16  payload
//
// What was saved is a block of pages: of each vCPU the device-state region and the state page, then the RAM. Records of pages
// follow each other without gaps. Those before the first page, and the end, are about none.
#pragma once
#include <cstdint>

#include "proto/frame.hpp"
#include "proto/kernel.hpp"

namespace margay::init::saved {

constexpr std::uint32_t format_version = 1;
// Saved states that this build understands: the layout of VcpuState is part of the ABI.
constexpr std::uint32_t oldest_abi = 3;

constexpr unsigned head_bytes = 16, max_payload = 8192;
constexpr unsigned max_record = head_bytes + max_payload;
// No record is about more pages, so that each is done in bounded time.
constexpr unsigned max_pages = 64;

namespace type {
constexpr char header = 'H';      // Header
constexpr char definition = 'V';  // JSON, as for define
constexpr char data = 'D';        // one page, packed unless it has its full length
constexpr char zeros = 'Z';       // nothing: pages of zeros
constexpr char words = 'R';       // 8 bytes: pages that repeat them
constexpr char same = 'S';        // page, 32 bits: one page, the same as that earlier one
constexpr char end = 'E';         // CRC-32 of the header
}  // namespace type

// The payload of the first record.
struct Header {
    char magic[8] = {'M', 'a', 'r', 'g', 'a', 'y', 'V', 'M'};
    std::uint16_t format = format_version;
    std::uint16_t further_cpus = 0;  // vCPUs beyond the first
    std::uint32_t abi = abi_version;
    std::uint64_t snapshot = 0;  // which one it is: TSC when it was taken
    std::uint64_t sequence = 0;  // number of the guest's last exit
    std::uint64_t tsc_khz = 0;   // of the node
    std::uint64_t ram_bytes = 0;
    std::uint64_t features = 0;  // CpuFeatures that its guest has seen; 0: nobody knows
};
static_assert(sizeof(Header) == 56);
// Of files that say nothing of features.
constexpr unsigned short_header_bytes = 48;

struct Record {
    char type = 0;
    unsigned length = 0;  // of the payload
    std::uint32_t page = 0, pages = 0;
};

// The head of a record and the CRC of the whole, into room for them in front of the payload.
inline void seal(const Record& r, char* record) {
    record[0] = r.type;
    record[1] = 0;
    for (unsigned i = 0; i < 2; ++i) record[2 + i] = static_cast<char>(r.length >> 8 * i);
    for (unsigned i = 0; i < 4; ++i) record[4 + i] = static_cast<char>(r.page >> 8 * i);
    for (unsigned i = 0; i < 4; ++i) record[8 + i] = static_cast<char>(r.pages >> 8 * i);
    std::uint32_t crc = frame::crc_begin;
    for (unsigned i = 0; i < 12; ++i) crc = frame::crc_step(crc, record[i]);
    for (unsigned i = 0; i < r.length; ++i) crc = frame::crc_step(crc, record[head_bytes + i]);
    crc = frame::crc_end(crc);
    for (unsigned i = 0; i < 4; ++i) record[12 + i] = static_cast<char>(crc >> 8 * i);
}

inline Record record_at(const char* p) {
    return {p[0], frame::number_at(p + 2, 2), frame::number_at(p + 4, 4),
            frame::number_at(p + 8, 4)};
}

// Of a whole record.
inline bool is_sound(const char* record) {
    const Record r = record_at(record);
    std::uint32_t crc = frame::crc_begin;
    for (unsigned i = 0; i < 12; ++i) crc = frame::crc_step(crc, record[i]);
    for (unsigned i = 0; i < r.length; ++i) crc = frame::crc_step(crc, record[head_bytes + i]);
    return record[1] == 0 && frame::crc_end(crc) == frame::number_at(record + 12, 4);
}

}  // namespace margay::init::saved
