// The last lines of all servers, in the order in which they were printed.
#pragma once
#include <cstdint>
#include <string_view>

#include "servers/console/history.hpp"

namespace margay::console {

struct LogLine {
    static constexpr unsigned max_bytes = 160;

    std::uint64_t stamp;     // TSC
    std::uint32_t server;    // its channel
    std::uint32_t terminal;  // where `behind` counts; no channel: none was shown
    std::uint64_t behind;    // output of that terminal that comes first
    std::uint32_t length;
    char text[max_bytes];

    std::string_view view() const { return {text, length}; }
};

class LogBook {
  public:
    using Position = std::uint64_t;

    Position begin() const { return oldest_; }
    Position end() const { return bytes_.end(); }
    void keep_nothing() { bytes_.keep_nothing(); }
    void keep(Position from) { bytes_.keep(from); }
    bool has_room() const { return bytes_.room() >= sizeof(LogLine); }
    // To be saved before add(). The oldest lines that made room then are gone in any case.
    std::uint64_t& saved_end() { return bytes_.saved_end(); }
    // Left by a console that died. What is no chain of lines is forgotten.
    void make_sound() {
        std::uint64_t at = oldest_;
        if (bytes_.end() - at > book_bytes) at = ~0ull;
        while (at < bytes_.end()) {
            const std::uint64_t size = size_at(at);
            if (size > sizeof(LogLine)) break;
            at += size;
        }
        if (at == bytes_.end()) return;
        bytes_.clear();
        oldest_ = 0;
    }

    // The oldest lines make room.
    void add(const LogLine& line) {
        const auto size = static_cast<std::uint32_t>(offsetof(LogLine, text)) + line.length;
        while (bytes_.end() + size - oldest_ > book_bytes) {
            oldest_ += size_at(oldest_);
            ++lines_gone_;
        }
        const char* p = reinterpret_cast<const char*>(&line);
        for (std::uint32_t i = 0; i < size; ++i) bytes_.put(p[i]);
    }
    // The line at a position up to which a reader has come, and moves it on. False: there is none yet. A reader
    // that has fallen behind goes on at the oldest line, and `lost` is set.
    bool read(Position& position, LogLine& line, bool& lost) const {
        lost = position < oldest_;
        if (lost) position = oldest_;
        if (position >= bytes_.end()) return false;
        copy(position, reinterpret_cast<char*>(&line), offsetof(LogLine, text));
        if (line.length > LogLine::max_bytes) {  // no line begins there
            position = bytes_.end();
            return false;
        }
        copy(position + offsetof(LogLine, text), line.text, line.length);
        position += offsetof(LogLine, text) + line.length;
        return true;
    }

  private:
    static constexpr unsigned book_bytes = 64 << 10;

    void copy(Position from, char* to, std::uint64_t count) const {
        for (std::uint64_t i = 0; i < count; ++i) to[i] = bytes_.at(from + i);
    }
    std::uint64_t size_at(Position at) const {
        std::uint32_t length = 0;
        copy(at + offsetof(LogLine, length), reinterpret_cast<char*>(&length), sizeof(length));
        return offsetof(LogLine, text) + length;
    }

    History<book_bytes> bytes_;
    Position oldest_ = 0;
    std::uint64_t lines_gone_ = 0;
};

}  // namespace margay::console
