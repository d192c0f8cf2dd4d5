// Which PCI function a VM is to have, as its definition says it: by address, by vendor and device, by class, or by several of
// these at once.
#pragma once
#include <cstdint>
#include <string_view>

#include "proto/guest_function.hpp"

namespace margay::init {

struct DeviceChoice {
    static constexpr std::uint32_t any = ~0u;
    struct Class {
        std::uint32_t code = 0, mask = 0;  // bits of class << 16 | subclass << 8 | interface
    };

    std::uint32_t requester = any, vendor = any, device = any;
    Class of_class;

    bool names_something() const { return requester != any || vendor != any || of_class.mask != 0; }
    bool fits(const PciFunction& f) const {
        return (requester == any || requester == f.requester) &&
               (vendor == any || vendor == f.vendor) && (device == any || device == f.device) &&
               (f.class_code & of_class.mask) == of_class.code;
    }
};

struct DeviceChoices {
    std::uint64_t count = 0;
    DeviceChoice choice[max_guest_functions];
};

// [SEGMENT:]BUS:DEVICE.FUNCTION in hexadecimal, as lspci writes it; the segment is 0000. False: it is none.
bool parse_pci_address(std::string_view text, std::uint32_t& requester);
// Four hexadecimal digits.
bool parse_pci_id(std::string_view text, std::uint32_t& id);
// Two, four or six hexadecimal digits: a class, with its subclass, with its interface.
bool parse_pci_class(std::string_view text, DeviceChoice::Class& c);

// digits: how many, with zeros in front.
template <typename Sink>
void write_hex(Sink&& to, std::uint32_t value, unsigned digits) {
    while (digits-- != 0) to("0123456789abcdef"[value >> 4 * digits & 0xf]);
}

// segment:bus:device.function
template <typename Sink>
void write_address(Sink&& to, std::uint16_t requester) {
    for (const char c : std::string_view{"0000:"}) to(c);
    write_hex(to, requester >> 8, 2);
    to(':');
    write_hex(to, requester >> 3 & 31, 2);
    to('.');
    write_hex(to, requester & 7, 1);
}

// As JSON, as a definition has them.
template <typename Sink>
void write_choices(Sink&& to, const DeviceChoices& choices) {
    const auto put = [&to](std::string_view text) {
        for (const char c : text) to(c);
    };
    put("[");
    for (std::uint64_t i = 0; i < choices.count; ++i) {
        const DeviceChoice& c = choices.choice[i];
        std::string_view before = i == 0 ? "{" : ",{";
        const auto member = [&](std::string_view name, bool is_there, auto write) {
            if (!is_there) return;
            put(before);
            before = ",";
            put("\"");
            put(name);
            put("\":\"");
            write();
            put("\"");
        };
        member("pci", c.requester != DeviceChoice::any,
               [&] { write_address(to, static_cast<std::uint16_t>(c.requester)); });
        member("vendor", c.vendor != DeviceChoice::any, [&] { write_hex(to, c.vendor, 4); });
        member("device", c.device != DeviceChoice::any, [&] { write_hex(to, c.device, 4); });
        const unsigned digits = c.of_class.mask == 0xffffff   ? 6
                                : c.of_class.mask == 0xffff00 ? 4
                                                              : 2;
        member("class", c.of_class.mask != 0,
               [&] { write_hex(to, c.of_class.code >> (24 - 4 * digits), digits); });
        put("}");
    }
    put("]");
}

}  // namespace margay::init
