#include "servers/init/saved/writer.hpp"

#include <cstring>

#include "servers/init/saved/pack.hpp"

namespace margay::init::saved {

namespace {

constexpr unsigned words_per_page = page_size / 8;

std::uint64_t word_at(const std::byte* p) {
    std::uint64_t w;
    std::memcpy(&w, p, sizeof(w));
    return w;
}

// All words of the page are its first.
bool is_uniform(const std::byte* page) {
    const std::uint64_t first = word_at(page);
    for (unsigned i = 1; i < words_per_page; ++i)
        if (word_at(page + 8 * i) != first) return false;
    return true;
}

unsigned hash_of(const std::byte* page) {
    std::uint64_t h = 0;
    for (unsigned i = 0; i < words_per_page; ++i)
        h = (h ^ word_at(page + 8 * i)) * 0x9e37'79b9'7f4a'7c15ull;
    return static_cast<unsigned>(h >> 52);
}

}  // namespace

void Writer::begin(const Header& header, std::string_view definition, const std::byte* block,
                   std::uint32_t pages, std::uint32_t from) {
    block_ = block;
    pages_ = pages;
    page_ = from;
    sent_ = length_ = 0;
    is_done_ = false;
    std::memset(last_, 0, sizeof(last_));
    std::memcpy(record_ + head_bytes, &header, sizeof(header));
    make(type::header, 0, 0, sizeof(header));
    header_crc_ = frame::number_at(record_ + 12, 4);
    has_definition_ = from == 0;
    if (from != 0) {
        length_ = 0;
        return;
    }
    definition_length_ = 0;
    for (const char c : definition.substr(0, max_payload)) definition_[definition_length_++] = c;
}

void Writer::make(char type, std::uint32_t page, std::uint32_t pages, unsigned length) {
    seal({type, length, page, pages}, record_);
    length_ = head_bytes + length;
    sent_ = 0;
}

void Writer::put_number(std::uint32_t n) {
    for (unsigned i = 0; i < 4; ++i) record_[head_bytes + i] = static_cast<char>(n >> 8 * i);
}

unsigned Writer::next() {
    if (has_definition_) {
        has_definition_ = false;
        std::memcpy(record_ + head_bytes, definition_, definition_length_);
        make(type::definition, 0, 0, definition_length_);
        return 0;
    }
    if (page_ >= pages_) {
        put_number(header_crc_);
        make(type::end, pages_, 0, 4);
        is_done_ = true;
        return 0;
    }
    const std::byte* const page = at(page_);
    if (is_uniform(page)) {
        const std::uint64_t word = word_at(page);
        std::uint32_t count = 1;
        while (count < max_pages && page_ + count < pages_ && word_at(at(page_ + count)) == word &&
               is_uniform(at(page_ + count)))
            ++count;
        if (word != 0) std::memcpy(record_ + head_bytes, &word, sizeof(word));
        make(word == 0 ? type::zeros : type::words, page_, count, word == 0 ? 0 : 8);
        page_ += count;
        return count;
    }
    std::uint32_t& last = last_[hash_of(page)];
    const bool is_same = last != 0 && std::memcmp(at(last - 1), page, page_size) == 0;
    if (is_same) {
        put_number(last - 1);
        make(type::same, page_, 1, 4);
    } else {
        char packed[page_size];
        unsigned length = pack(page, packed);
        if (length != 0) {
            std::memcpy(record_ + head_bytes, packed, length);
        } else {
            length = page_size;
            std::memcpy(record_ + head_bytes, page, length);
        }
        make(type::data, page_, 1, length);
        last = page_ + 1;
    }
    ++page_;
    // To pack one takes as long as to look at some.
    return max_look / 8;
}

unsigned Writer::read(char* to, unsigned most) {
    unsigned done = 0, looked = 0;
    while (done < most) {
        if (sent_ == length_) {
            if (is_done_ || looked >= max_look) break;
            looked += next();
        }
        const unsigned left = length_ - sent_, now = left < most - done ? left : most - done;
        std::memcpy(to + done, record_ + sent_, now);
        done += now, sent_ += now;
    }
    return done;
}

}  // namespace margay::init::saved
