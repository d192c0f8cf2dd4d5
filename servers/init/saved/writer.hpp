// Turns what was saved of a VM into its stream, from any page on. Pure logic; each step is bounded.
#pragma once
#include <cstddef>
#include <string_view>

#include "servers/init/saved/format.hpp"

namespace margay::init::saved {

class Writer {
  public:
    // `block` stays as it is meanwhile: `pages` pages. From page 0 on header and definition come first.
    void begin(const Header& header, std::string_view definition, const std::byte* block,
               std::uint32_t pages, std::uint32_t from);
    // The next bytes, up to `most`; fewer, or even none, if finding them takes long. is_done(): there are no more.
    unsigned read(char* to, unsigned most);
    bool is_done() const { return is_done_ && sent_ == length_; }
    // What is read is of pages before this one.
    std::uint32_t page() const { return page_; }

  private:
    // What one read looks at: pages.
    static constexpr unsigned max_look = max_pages;
    static constexpr unsigned slots = 4096;

    void make(char type, std::uint32_t page, std::uint32_t pages, unsigned length);
    void put_number(std::uint32_t n);
    // Makes the next record. How many pages it looked at.
    unsigned next();
    const std::byte* at(std::uint32_t page) const {
        return block_ + static_cast<std::uint64_t>(page) * page_size;
    }

    const std::byte* block_ = nullptr;
    std::uint32_t pages_ = 0, page_ = 0;
    std::uint32_t header_crc_ = 0;
    bool has_definition_ = false, is_done_ = true;
    std::uint32_t last_[slots];  // the page of that hash that came last, plus one
    unsigned length_ = 0, sent_ = 0;
    char record_[max_record];
    unsigned definition_length_ = 0;
    char definition_[max_payload];
};

}  // namespace margay::init::saved
