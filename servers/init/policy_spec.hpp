// A policy as an operator or a manifest names it.
#pragma once
#include <string_view>

#include "proto/exit.hpp"
#include "proto/policy.hpp"
#include "servers/init/failure.hpp"
#include "servers/init/manifest.hpp"

namespace margay::init {

// Bit n: rows of ExitClass n.
using ExitClasses = std::uint32_t;
static_assert(exit_classes <= 32);

struct PolicySpec {
    char module[max_name] = {};
    char options[max_policy_options] = {};
    ExitClasses classes = 0;
    bool with_state = false;  // it may change the state that a reply loads
};

// text: "CLASS[,CLASS...] MODULE [with-state] [OPTIONS]", or "all" for the classes.
Failure parse_policy(std::string_view text, PolicySpec& spec);

}  // namespace margay::init
