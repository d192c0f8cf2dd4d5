// A request of the second serial line: one JSON object.
//
//   {"id": 7, "command": "vmm-swap", "vm": "linux", "module": "vmm-old"}
//
// Arguments are text; a timeout may be a number as well, and a value a number or truth value.
//
// id: text or a whole number of up to 64 bits, given back with the reply; without one the reply has null.
//
// In a sealed line (proto/sealed_line.hpp) the id is that request's alone: the same one once more is a repetition. "got" are ids
// of replies that have come, "again" says that the request has been made already and is not to be begun now.
#pragma once
#include <cstdint>
#include <string_view>

#include "servers/init/control/command.hpp"

namespace margay::init {

constexpr unsigned max_request_bytes = 64 << 10;
// Brackets that may be open at once.
constexpr unsigned max_request_depth = 32;
// Room for a definition without its escapes.
using DefinitionText = Text<max_definition_bytes>;
constexpr unsigned max_id_bytes = 64;
constexpr unsigned max_got_bytes = 256;

enum class IdKind : std::uint8_t { none, text, number };

struct Request {
    IdKind id_kind = IdKind::none;
    Text<max_id_bytes> id;
    Command command;
    Text<max_got_bytes> got;
    bool is_again = false;
    bool is_sealed = false;  // so is the reply

    bool has_same_id(const Request& other) const {
        return id_kind != IdKind::none && id_kind == other.id_kind && id.view() == other.id.view();
    }
};

// False with the reason. The id is kept even then, if the text is JSON at all. A definition is kept in the room
// that is given, where the command finds it.
bool parse_request(std::string_view text, Request& request, DefinitionText& definition,
                   ErrorText& error);

}  // namespace margay::init
