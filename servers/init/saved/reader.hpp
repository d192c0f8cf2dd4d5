// Takes the stream of a saved VM apart and fills a block with it. The stream comes from outside: nothing of it is
// believed. Pure logic; each step is bounded.
#pragma once
#include <cstddef>
#include <string_view>

#include "servers/init/failure.hpp"
#include "servers/init/saved/format.hpp"

namespace margay::init::saved {

// Where the pages go.
class Target {
  public:
    // The header came and is sound: room for that many pages, or a reason why not.
    virtual Failure open(const Header& header, std::uint32_t pages, std::byte*& block) = 0;

  protected:
    ~Target() = default;
};

class Reader {
  public:
    // Pages in front of the RAM for each vCPU.
    explicit Reader(std::uint32_t pages_per_cpu) : per_cpu_{pages_per_cpu} {}

    // From the beginning on.
    void begin() { *this = Reader{per_cpu_}; }
    // From page() on again: what came of the next record is forgotten.
    void go_on() { have_ = 0; }
    // Takes bytes. A failure is the end: begin() is next.
    Failure take(std::string_view bytes, Target& target);
    // Up to where it has come.
    std::uint32_t page() const { return page_; }
    bool has_header() const { return block_ != nullptr; }
    bool is_whole() const { return is_whole_; }
    const Header& header() const { return header_; }

  private:
    Failure take_record(Target& target);
    Failure take_header(const Record& r, Target& target);
    Failure take_pages(const Record& r);
    std::byte* at(std::uint32_t page) const {
        return block_ + static_cast<std::uint64_t>(page) * page_size;
    }
    const char* payload() const { return record_ + head_bytes; }

    std::uint32_t per_cpu_;
    Header header_;
    std::uint32_t header_crc_ = 0;
    std::byte* block_ = nullptr;
    std::uint32_t pages_ = 0, page_ = 0;
    bool is_whole_ = false;
    unsigned have_ = 0;
    char record_[max_record];
};

}  // namespace margay::init::saved
