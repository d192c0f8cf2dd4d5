// A short text in a fixed room, a sink for print(). What does not fit is cut off.
#pragma once
#include <string_view>

namespace margay::init {

template <unsigned bytes>
class Text {
  public:
    void operator()(char c) {
        if (length_ < bytes) data_[length_++] = c;
    }
    void set(std::string_view s) {
        length_ = 0;
        for (char c : s) (*this)(c);
    }
    void clear() { length_ = 0; }
    bool empty() const { return length_ == 0; }
    bool is_full() const { return length_ == bytes; }
    void pop() { length_ -= length_ != 0; }
    std::string_view view() const { return {data_, length_}; }

  private:
    char data_[bytes];
    unsigned length_ = 0;
};

}  // namespace margay::init
