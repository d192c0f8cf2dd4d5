#include "servers/init/saved/pack.hpp"

#include <cstring>

namespace margay::init::saved {

namespace {

constexpr unsigned shortest = 4, longest = 131, most_literals = 128;
constexpr unsigned slots = 1024;

unsigned slot_of(const std::byte* p) {
    std::uint32_t word;
    std::memcpy(&word, p, sizeof(word));
    return word * 2654435761u >> 22;
}

}  // namespace

unsigned pack(const std::byte* page, char (&to)[page_size]) {
    std::uint16_t last[slots] = {};  // where such four bytes stood, plus one
    unsigned out = 0, at = 0, literals = 0;
    const auto put_literals = [&] {
        while (literals != 0) {
            const unsigned n = literals < most_literals ? literals : most_literals;
            if (out + 1 + n >= page_size) return false;
            to[out++] = static_cast<char>(n - 1);
            std::memcpy(to + out, page + at - literals, n);
            out += n;
            literals -= n;
        }
        return true;
    };
    while (at < page_size) {
        unsigned length = 0, from = 0;
        if (at + shortest <= page_size) {
            std::uint16_t& slot = last[slot_of(page + at)];
            if (slot != 0) {
                from = slot - 1u;
                while (length < longest && at + length < page_size &&
                       page[from + length] == page[at + length])
                    ++length;
            }
            slot = static_cast<std::uint16_t>(at + 1);
        }
        if (length < shortest) {
            ++at;
            ++literals;
            continue;
        }
        if (!put_literals() || out + 3 >= page_size) return 0;
        const unsigned distance = at - from;
        to[out++] = static_cast<char>(length + 124);
        to[out++] = static_cast<char>(distance);
        to[out++] = static_cast<char>(distance >> 8);
        at += length;
    }
    return put_literals() ? out : 0;
}

bool unpack(const char* packed, std::size_t length, std::byte* page) {
    std::size_t in = 0, out = 0;
    while (in < length) {
        const auto n = static_cast<unsigned char>(packed[in++]);
        if (n < most_literals) {
            const std::size_t count = n + 1u;
            if (count > length - in || count > page_size - out) return false;
            std::memcpy(page + out, packed + in, count);
            in += count, out += count;
            continue;
        }
        if (length - in < 2) return false;
        const std::size_t count = n - 124u;
        const std::size_t distance =
            static_cast<unsigned char>(packed[in]) |
            static_cast<std::size_t>(static_cast<unsigned char>(packed[in + 1])) << 8;
        in += 2;
        if (distance == 0 || distance > out || count > page_size - out) return false;
        // One by one: it may run into what it writes.
        for (std::size_t i = 0; i < count; ++i, ++out) page[out] = page[out - distance];
    }
    return out == page_size;
}

}  // namespace margay::init::saved
