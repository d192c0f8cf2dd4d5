// What a sealed request was answered, until its client has said that it has the answer: a repetition gets the same one,
// and nothing is done twice. Pure logic.
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
        Answer& a = answer_[next_ % capacity];
        a = {request, performed};
        // They refer to text that is the next request's.
        a.request.command.config = a.request.command.value = {};
        ++next_;
    }
    // nullptr: it is not known, or not any more.
    const Answer* find(const Request& request) const {
        for (const Answer& a : answer_)
            if (request.has_same_id(a.request)) return &a;
        return nullptr;
    }
    // ids: texts with blanks between them.
    void forget(std::string_view ids) {
        while (!ids.empty()) {
            std::size_t end = 0;
            while (end < ids.size() && ids[end] != ' ') ++end;
            for (Answer& a : answer_)
                if (a.request.id_kind == IdKind::text && a.request.id.view() == ids.substr(0, end))
                    a.request.id_kind = IdKind::none;
            ids.remove_prefix(end < ids.size() ? end + 1 : end);
        }
    }

  private:
    Answer answer_[capacity];
    unsigned next_ = 0;
};

}  // namespace margay::init
