// Estates: the parts of the derivation tree that have a lock of their own. An estate is what is derived
// from one extent that was carved with carve_flag::estate, down to the next such extents; its number
// stands in each of its nodes. Estate 0 is what nobody made one of. VMs whose memory comes from different
// estates never wait for each other.
#pragma once
#include <atomic>
#include <cstdint>

#include "ukernel/core/measure.hpp"
#include "ukernel/tree/node.hpp"

namespace margay {

namespace estate {

// More estates than locks: some share one.
constexpr unsigned locks = 256;

// A number for a new estate.
Estate number_new();

// How many locks were taken so far; counted in debug builds and host tests only.
extern std::uint64_t taken;

}  // namespace estate

// The locks that a call holds. To take the first ones passes an epoch (core/epoch.hpp): what was found
// before must be looked up again. Two at once are taken in order; more only if nobody has them.
class EstateLock {
  public:
    EstateLock() = default;
    ~EstateLock() { release(); }
    EstateLock(const EstateLock&) = delete;
    EstateLock& operator=(const EstateLock&) = delete;

    // True if both are held. Otherwise the call must end with nothing changed; it is made again with
    // these two held.
    bool want(Estate a, Estate b);
    bool want(Estate a) { return want(a, a); }
    bool wants_more() const { return wants_; }
    // Gives up what is held and takes what was wanted.
    void take_wanted();

    bool holds(Estate e) const;
    // Takes another one if nobody has it and there is room.
    bool try_add(Estate e);
    void release();

  private:
    static constexpr unsigned room = 24;
    std::uint8_t held_[room];
    unsigned count_ = 0;
    Estate wanted_[2] = {};
    bool wants_ = false;
    [[no_unique_address]] measure::Hold hold_;
};

}  // namespace margay
