// Reading the start-up block.
#pragma once
#include <string_view>

#include "proto/startup.hpp"

namespace margay {

inline const Startup& startup() { return *reinterpret_cast<const Startup*>(startup_address); }

// The item of that name, or null.
inline const StartupItem* find_startup_item(std::string_view name) {
    const Startup& s = startup();
    for (unsigned i = 0; i < s.count && i < startup_items; ++i)
        if (name == s.item[i].name) return &s.item[i];
    return nullptr;
}

// Memory that the item is mapped at.
template <typename T>
T* mapped(const StartupItem& item) {
    return reinterpret_cast<T*>(item.address);
}

}  // namespace margay
