// A value or the reason why there is none.
#pragma once
#include <utility>

#include "proto/status.hpp"

namespace margay {

template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value) : value_{std::move(value)}, status_{Status::ok} {}
    Result(Status why) : value_{}, status_{why} {}

    explicit operator bool() const { return status_ == Status::ok; }
    Status status() const { return status_; }
    // Only to be read after a check; a failed Result holds a default value.
    T& value() { return value_; }
    const T& value() const { return value_; }
    T& operator*() { return value_; }
    const T& operator*() const { return value_; }
    T* operator->() { return &value_; }
    const T* operator->() const { return &value_; }

  private:
    T value_;
    Status status_;
};

}  // namespace margay
