// What a sealed request was answered, until its client has said that it has the answer: a repetition gets the same one,
// and nothing is done twice. Of requests that only show something no more than the id is needed. Pure logic.
#pragma once
#include "servers/init/control/perform.hpp"
#include "servers/init/control/request.hpp"

namespace margay::init {

struct Answer {
    Request request;
    Performed performed;
};

class Answered {
  public:
    // When so many are not asked for any more and nobody said so, the oldest gives way.
    static constexpr unsigned capacity = 32;

    void keep(const Request& request, const Performed& performed) {
        // Looking around makes nobody forget what was done.
        Ring& ring = only_shows(request.command.action) ? shown_ : done_;
        Answer& a = ring.answer[ring.next++ % capacity];
        a = {request, performed};
        // They refer to text that is the next request's.
        a.request.command.config = a.request.command.value = {};
    }
    // nullptr: it is not known, or not any more.
    const Answer* find(const Request& request) const {
        for (const Ring* ring : {&done_, &shown_})
            for (const Answer& a : ring->answer)
                if (request.has_same_id(a.request)) return &a;
        return nullptr;
    }
    // ids: texts with blanks between them.
    void forget(std::string_view ids) {
        while (!ids.empty()) {
            std::size_t end = 0;
            while (end < ids.size() && ids[end] != ' ') ++end;
            for (Ring* ring : {&done_, &shown_}) ring->forget(ids.substr(0, end));
            ids.remove_prefix(end < ids.size() ? end + 1 : end);
        }
    }

  private:
    struct Ring {
        Answer answer[capacity];
        unsigned next = 0;

        void forget(std::string_view id) {
            for (Answer& a : answer)
                if (a.request.id_kind == IdKind::text && a.request.id.view() == id)
                    a.request.id_kind = IdKind::none;
        }
    };

    Ring done_, shown_;
};

}  // namespace margay::init
