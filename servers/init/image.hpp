// A module that is a program: mapped into init and checked once, however often it is started.
#pragma once
#include "proto/symbols.hpp"
#include "servers/init/module.hpp"
#include "support/elf.hpp"

namespace margay::init {

// Addresses that a program's segments may have.
constexpr std::uint64_t image_lowest = 0x400000;

struct Image {
    const Module* module = nullptr;
    const std::uint8_t* bytes = nullptr;   // the file, mapped here
    const char* wrong = nullptr;           // why it is no program, or null
    std::uint64_t symbols_address = 0;     // in the program; 0: it has none
    const SymbolTable* symbols = nullptr;  // the same table in the file

    const ElfHeader& header() const { return *reinterpret_cast<const ElfHeader*>(bytes); }
    const ElfSegment* segments() const {
        return reinterpret_cast<const ElfSegment*>(bytes + header().program_headers);
    }
    std::uint64_t bytes_of_symbols() const {
        return module->length -
               static_cast<std::uint64_t>(reinterpret_cast<const std::uint8_t*>(symbols) - bytes);
    }
};

// `bytes`: the module, mapped.
Image inspect_image(const Module& module, const std::uint8_t* bytes);

}  // namespace margay::init
