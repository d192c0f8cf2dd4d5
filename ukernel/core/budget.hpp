// A budget: the right to run on one core at one priority. Every Context owns one; during a call the
// handler runs on its caller's.
#pragma once
#include <boost/intrusive/list.hpp>
#include <cstdint>

namespace margay {

namespace bi = boost::intrusive;

struct Context;

struct Budget : bi::list_base_hook<bi::link_mode<bi::auto_unlink>> {
    Context* owner = nullptr;
    Context* resume = nullptr;  // who continues when this budget is picked
    std::uint8_t priority = 0;

    bool is_queued() const { return is_linked(); }
};

}  // namespace margay
