#include "servers/init/saved/reader.hpp"

#include <algorithm>
#include <cstring>

#include "servers/init/manifest.hpp"
#include "servers/init/saved/pack.hpp"

namespace margay::init::saved {

namespace {

template <typename... Arguments>
Failure refusal(std::string_view format, const Arguments&... arguments) {
    Failure f;
    f.set(FailureKind::usage, format, arguments...);
    return f;
}

constexpr std::uint64_t most_ram = 1ull << 40;

}  // namespace

Failure Reader::take_header(const Record& r, Target& target) {
    if (r.type != type::header || (r.length != sizeof(Header) && r.length != short_header_bytes))
        return refusal("this is no saved VM");
    Header h;
    std::memcpy(&h, payload(), r.length);
    if (std::memcmp(h.magic, Header{}.magic, sizeof(h.magic)) != 0)
        return refusal("this is no saved VM");
    if (h.format != format_version)
        return refusal("it has format {}, this node reads format {}", h.format, format_version);
    if (h.abi > abi_version)
        return refusal("a later build saved it: ABI {}, this node has {}", h.abi, abi_version);
    if (h.abi < oldest_abi) return refusal("it was saved with ABI {}, too old", h.abi);
    if (h.ram_bytes == 0 || h.ram_bytes % page_size != 0 || h.ram_bytes > most_ram ||
        h.snapshot == 0 || h.further_cpus >= max_vcpus)
        return refusal("its header makes no sense");
    const auto pages =
        (h.further_cpus + 1u) * per_cpu_ + static_cast<std::uint32_t>(h.ram_bytes / page_size);
    if (const Failure f = target.open(h, pages, block_); f.is_set()) return f;
    header_ = h;
    header_crc_ = frame::number_at(record_ + 12, 4);
    pages_ = pages;
    return {};
}

Failure Reader::take_pages(const Record& r) {
    if (r.page != page_) return refusal("page {} where {} is next", r.page, page_);
    if (r.pages == 0 || r.pages > max_pages || r.pages > pages_ - page_)
        return refusal("page {}: not so many", r.page);
    std::byte* const to = at(page_);
    const bool one = r.pages == 1;
    switch (r.type) {
    case type::zeros:
        if (r.length != 0) return refusal("page {}: zeros with contents", r.page);
        std::memset(to, 0, std::size_t{r.pages} * page_size);
        break;
    case type::words:
        if (r.length != 8) return refusal("page {}: a word has 8 bytes", r.page);
        for (std::size_t i = 0; i < std::size_t{r.pages} * page_size; i += 8)
            std::memcpy(to + i, payload(), 8);
        break;
    case type::same: {
        const std::uint32_t from = r.length == 4 ? frame::number_at(payload(), 4) : page_;
        if (from >= page_ || !one) return refusal("page {}: as one that is not there", r.page);
        std::memcpy(to, at(from), page_size);
        break;
    }
    case type::data:
        if (!one || r.length > page_size) return refusal("page {}: too long", r.page);
        if (r.length == page_size)
            std::memcpy(to, payload(), page_size);
        else if (!unpack(payload(), r.length, to))
            return refusal("page {}: it cannot be unpacked", r.page);
        break;
    default: return refusal("page {}: a record of unknown type", r.page);
    }
    page_ += r.pages;
    return {};
}

Failure Reader::take_record(Target& target) {
    if (!is_sound(record_)) return refusal("damaged behind page {}", page_);
    const Record r = record_at(record_);
    if (block_ == nullptr) return take_header(r, target);
    // Of no page: the definition is for whoever defines the VM, and who goes on before the first page begins anew.
    if (r.type == type::definition && page_ == 0) return {};
    if (r.type == type::header && page_ == 0 && frame::number_at(record_ + 12, 4) == header_crc_)
        return {};
    if (r.type != type::end) return take_pages(r);
    if (page_ != pages_ || r.page != pages_ || r.length != 4 ||
        frame::number_at(payload(), 4) != header_crc_)
        return refusal("it ends at page {} of {}", page_, pages_);
    is_whole_ = true;
    return {};
}

Failure Reader::take(std::string_view bytes, Target& target) {
    while (!bytes.empty()) {
        if (is_whole_) return refusal("there is something behind its end");
        unsigned wanted = head_bytes;
        if (have_ >= head_bytes) {
            const unsigned length = record_at(record_).length;
            if (length > max_payload) return refusal("damaged behind page {}", page_);
            wanted += length;
        }
        const auto now = static_cast<unsigned>(std::min<std::size_t>(wanted - have_, bytes.size()));
        std::memcpy(record_ + have_, bytes.data(), now);
        have_ += now;
        bytes.remove_prefix(now);
        if (have_ < head_bytes || have_ < head_bytes + record_at(record_).length) continue;
        have_ = 0;
        if (const Failure f = take_record(target); f.is_set()) return f;
    }
    return {};
}

}  // namespace margay::init::saved
