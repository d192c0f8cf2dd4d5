#include "servers/init/device_choice.hpp"

namespace margay::init {

namespace {

// All of it, and nothing else.
bool parse_hex(std::string_view text, std::uint32_t& value) {
    value = 0;
    for (const char c : text) {
        const unsigned lower = static_cast<unsigned char>(c) | 0x20;
        const unsigned digit = c >= '0' && c <= '9'           ? static_cast<unsigned>(c - '0')
                               : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
                                                              : 16;
        if (digit > 15) return false;
        value = value << 4 | digit;
    }
    return !text.empty() && text.size() <= 8;
}

}  // namespace

bool parse_pci_address(std::string_view text, std::uint32_t& requester) {
    if (text.starts_with("0000:")) text.remove_prefix(5);
    if (text.size() != 7 || text[2] != ':' || text[5] != '.') return false;
    std::uint32_t bus = 0, device = 0, function = 0;
    if (!parse_hex(text.substr(0, 2), bus) || !parse_hex(text.substr(3, 2), device) ||
        !parse_hex(text.substr(6), function) || device > 31 || function > 7)
        return false;
    requester = bus << 8 | device << 3 | function;
    return true;
}

bool parse_pci_id(std::string_view text, std::uint32_t& id) {
    return text.size() == 4 && parse_hex(text, id);
}

bool parse_pci_class(std::string_view text, DeviceChoice::Class& c) {
    std::uint32_t code = 0;
    if ((text.size() != 2 && text.size() != 4 && text.size() != 6) || !parse_hex(text, code))
        return false;
    const auto missing = static_cast<unsigned>(24 - 4 * text.size());
    c = {code << missing, 0xffffffu << missing & 0xffffff};
    return true;
}

}  // namespace margay::init
