// What a front end has to say, kept whole until its channel takes it.
#pragma once
#include <string_view>

namespace margay::init {

class Output {
  public:
    // More than every answer to one line needs: a list of some hundred VMs.
    static constexpr unsigned capacity = 98 << 10;

    void operator()(char c) {
        if (length_ < capacity) data_[length_++] = c;
    }
    bool empty() const { return next_ == length_; }
    std::string_view pending() const { return {data_ + next_, length_ - next_}; }
    // The first byte has been taken.
    void pop() {
        if (++next_ >= length_) next_ = length_ = 0;
    }

  private:
    char data_[capacity];
    unsigned length_ = 0, next_ = 0;
};

// Moves bytes between a channel and a front end. Input is taken only when everything said before is
// out, so that no answer is cut, and when the front end can take it. Call it when the channel's client is
// signalled, which the console does for input and when it has taken all output, and when something that
// was begun may be done.
template <typename Channel, typename FrontEnd>
void exchange(Channel& channel, FrontEnd& front_end) {
    Output& output = front_end.output();
    front_end.look();
    for (;;) {
        while (!output.empty() && channel.put(output.pending().front())) output.pop();
        char c;
        if (!output.empty() || front_end.is_busy() || !channel.get(c)) break;
        front_end.type(c);
    }
    channel.flush();
}

}  // namespace margay::init
