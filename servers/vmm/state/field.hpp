#pragma once

#include "servers/vmm/state/section.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

/// MARGAY_STATE(type, "name", version, oldest reader, flags, field, …) beside a state struct makes it a
/// section of the device state. All fields are named in the order of their declaration; one that is
/// forgotten does not compile. A field named reserved… is not described: what is there has no meaning.
///
/// Fields are found by name: append, insert and reorder freely and raise the version. A field that changes
/// its size or its meaning needs a new name. An array of structs is one field; its elements are frozen.
/// Raise the oldest reader only if older builds must not touch the state any more.

namespace margay::vmm::detail {

// Not constexpr: reaching one of them while compiling is the error message.
void a_name_is_too_long();
void the_fields_leave_a_gap();

template <std::size_t bytes>
constexpr void copy_name(char (&to)[bytes], std::string_view from) {
    if (from.empty() || from.size() >= bytes) {
        a_name_is_too_long();
    }
    for (std::size_t i = 0; i < from.size(); ++i) {
        to[i] = from[i];
    }
}

constexpr StateField make_field(std::string_view name, std::size_t offset, std::size_t size) {
    StateField field{};
    copy_name(field.name, name);
    field.offset = static_cast<std::uint32_t>(offset);
    field.size = static_cast<std::uint32_t>(size);
    return field;
}

template <std::size_t count>
consteval std::array<StateField, count> cover(std::size_t size,
                                              const std::array<StateField, count>& fields) {
    std::size_t end = 0;
    for (const auto& field : fields) {
        if (field.offset != end) {
            the_fields_leave_a_gap();
        }
        end = field.offset + field.size;
    }
    if (end != size) {
        the_fields_leave_a_gap();
    }
    return fields;
}

}  // namespace margay::vmm::detail

namespace margay::vmm {

/// What a build says about one of its sections.
struct SectionDescription {
    std::string_view name;
    std::uint32_t version;
    std::uint32_t oldest_reader;
    std::uint32_t flags;
    std::uint32_t size;
    std::span<const StateField> fields;  ///< reserved ones included
};

}  // namespace margay::vmm

// clang-format off
#define MARGAY_STATE(type, name, version, oldest_reader, flags, ...)                               \
    inline constexpr auto type##_fields = ::margay::vmm::detail::cover(                            \
        sizeof(type), std::to_array<::margay::vmm::StateField>(                                    \
                          {MARGAY_EXPAND(MARGAY_FIELDS(type, __VA_ARGS__))}));                     \
    [[nodiscard]] consteval ::margay::vmm::SectionDescription describe(const type*) {              \
        return {name, version, oldest_reader, flags, sizeof(type), type##_fields};                 \
    }
#define MARGAY_FIELD(type, field)                                                                  \
    ::margay::vmm::detail::make_field(#field, offsetof(type, field), sizeof(type::field))
// One field, then the rest: the preprocessor repeats a macro only when it is told to expand again.
#define MARGAY_FIELDS(type, field, ...)                                                            \
    MARGAY_FIELD(type, field) __VA_OPT__(, MARGAY_FIELDS_AGAIN MARGAY_NOTHING (type, __VA_ARGS__))
#define MARGAY_FIELDS_AGAIN() MARGAY_FIELDS
#define MARGAY_NOTHING ()
#define MARGAY_EXPAND(...)  MARGAY_EXPAND1(MARGAY_EXPAND1(MARGAY_EXPAND1(MARGAY_EXPAND1(__VA_ARGS__))))
#define MARGAY_EXPAND1(...) MARGAY_EXPAND2(MARGAY_EXPAND2(MARGAY_EXPAND2(MARGAY_EXPAND2(__VA_ARGS__))))
#define MARGAY_EXPAND2(...) MARGAY_EXPAND3(MARGAY_EXPAND3(MARGAY_EXPAND3(MARGAY_EXPAND3(__VA_ARGS__))))
#define MARGAY_EXPAND3(...) __VA_ARGS__
// clang-format on
