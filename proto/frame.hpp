// Frames on the second serial line, between lines of JSON (docs/manual/control-protocol.md). A frame is a
// message of a stream: several consoles, logs and transfers share the line.
//
//   0   start, a byte that no JSON text has
//   1   type
//   2   stream, 16 bits      all numbers lowest byte first
//   4   length of the payload, 16 bits, up to max_payload
//   6   payload
//   …   CRC-32 (IEEE 802.3) of everything from type to the payload's end
//
// A frame whose CRC is wrong is dropped. Max_frame bytes of line ends bring any reader to a frame's beginning.
#pragma once
#include <cstdint>
#include <string_view>

namespace margay::frame {

constexpr char start = 0x01;
constexpr unsigned header_bytes = 6, crc_bytes = 4, max_payload = 1024;
constexpr unsigned max_frame = header_bytes + max_payload + crc_bytes;

// What a frame says. Types of the host are small letters, types of the node capitals.
namespace type {
constexpr char open = 'o';     // payload: "console VM", "log", "log VM", "follow", "follow VM"
constexpr char data = 'd';     // what is typed
constexpr char close = 'c';    // no more is wanted
constexpr char reset = 'r';    // all streams end: a new host begins
constexpr char alive = 'a';    // the host is there; without any frame for a minute, streams end
constexpr char chunk = 'b';    // to the supervisor: a piece of a transfer. Offset, 64 bits; bytes
constexpr char opened = 'O';   // payload: window, 32 bits: how much may be typed ahead
constexpr char refused = 'E';  // payload: why
constexpr char output = 'D';   // of the terminal, or lines of the log
constexpr char window = 'W';   // payload: 32 bits: so much more may be typed
constexpr char lost = 'L';     // payload: 32 bits: so many bytes of output were dropped here
constexpr char closed = 'C';   // payload: why, may be empty
constexpr char piece = 'B';    // from the supervisor: a piece of a transfer. Offset, 64 bits; bytes
}  // namespace type

constexpr std::uint32_t crc_begin = ~0u;
constexpr std::uint32_t crc_step(std::uint32_t crc, char c) {
    constexpr std::uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                         0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                         0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                         0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    crc ^= static_cast<unsigned char>(c);
    crc = crc >> 4 ^ table[crc & 15];
    return crc >> 4 ^ table[crc & 15];
}
constexpr std::uint32_t crc_end(std::uint32_t crc) { return ~crc; }

constexpr std::uint32_t crc_of(std::string_view bytes) {
    std::uint32_t crc = crc_begin;
    for (const char c : bytes) crc = crc_step(crc, c);
    return crc_end(crc);
}
static_assert(crc_of("123456789") == 0xcbf43926);

// Little-endian numbers in bytes.
constexpr std::uint32_t number_at(const char* p, unsigned bytes) {
    std::uint32_t n = 0;
    for (unsigned i = bytes; i-- > 0;) n = n << 8 | static_cast<unsigned char>(p[i]);
    return n;
}

// Calls put(char) for every byte of the frame.
template <typename Put>
void write(Put&& put, char type, std::uint16_t stream, std::string_view payload) {
    std::uint32_t crc = crc_begin;
    const auto checked = [&](char c) {
        crc = crc_step(crc, c);
        put(c);
    };
    put(start);
    checked(type);
    checked(static_cast<char>(stream)), checked(static_cast<char>(stream >> 8));
    checked(static_cast<char>(payload.size())), checked(static_cast<char>(payload.size() >> 8));
    for (const char c : payload) checked(c);
    crc = crc_end(crc);
    for (unsigned i = 0; i < crc_bytes; ++i) put(static_cast<char>(crc >> 8 * i));
}

// Takes bytes apart into frames and what lies between them.
class Reader {
  public:
    enum class Found : std::uint8_t {
        nothing,  // within a frame
        text,     // the byte lies between frames
        frame,    // it is complete and its CRC is right: until the next byte
        damaged,  // it is dropped
    };

    Found take(char c) {
        if (progress_.length == 0 && c != start) return Found::text;
        bytes_[progress_.length++] = c;
        if (progress_.length < header_bytes) return Found::nothing;
        if (payload_bytes() > max_payload) {
            progress_.length = 0;
            return Found::damaged;
        }
        const unsigned end = header_bytes + payload_bytes();
        if (progress_.length < end + crc_bytes) return Found::nothing;
        const unsigned all = progress_.length;
        progress_.length = 0;
        progress_.whole = all;
        const std::string_view checked{bytes_ + 1, end - 1};
        return crc_of(checked) == number_at(bytes_ + end, crc_bytes) ? Found::frame
                                                                     : Found::damaged;
    }
    bool is_between() const { return progress_.length == 0; }

    // What a byte changes, apart from bytes behind it: for who goes back to where it was.
    struct Progress {
        unsigned length = 0, whole = 0;
    };
    Progress& progress() { return progress_; }
    // Left by somebody who died.
    void make_sound() {
        if (progress_.length >= max_frame || progress_.whole > max_frame) progress_ = {};
    }

    // Of a frame that was found.
    char type() const { return bytes_[1]; }
    std::uint16_t stream() const { return static_cast<std::uint16_t>(number_at(bytes_ + 2, 2)); }
    std::string_view payload() const { return {bytes_ + header_bytes, payload_bytes()}; }
    std::string_view whole() const { return {bytes_, progress_.whole}; }

  private:
    unsigned payload_bytes() const { return number_at(bytes_ + 4, 2); }

    char bytes_[max_frame];
    Progress progress_;
};

}  // namespace margay::frame
