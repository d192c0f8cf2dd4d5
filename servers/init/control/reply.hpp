// The reply to a request: one line of JSON.
//
//   {"id": 7, "ok": true, "result": …}       {"id": 7, "ok": false, "error": "…", "kind": "state"}
#pragma once
#include "servers/init/control/output.hpp"
#include "servers/init/control/perform.hpp"
#include "servers/init/control/request.hpp"

namespace margay::init {

// Why not, for a request that could not be read or not be carried out.
void write_error(Output& output, const Request& request, FailureKind kind, std::string_view error);
// What the command found out or did.
void write_result(Output& output, const Request& request, Operations& operations,
                  const Performed& performed);

}  // namespace margay::init
