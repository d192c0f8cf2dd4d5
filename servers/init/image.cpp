#include "servers/init/image.hpp"

#include "proto/startup.hpp"

namespace margay::init {

Image inspect_image(const Module& module, const std::uint8_t* bytes) {
    Image image;
    image.module = &module;
    image.bytes = bytes;
    image.wrong = check_elf(bytes, module.length, image_lowest, startup_address);
    if (image.wrong != nullptr) return image;
    const ElfSegment* s = image.segments();
    for (unsigned i = 0; i < image.header().program_header_count; ++i, ++s) {
        if (s->type != 1) continue;
        const std::uint64_t at = find_symbols(*s, bytes, image_lowest, startup_address);
        if (at == 0) continue;
        image.symbols_address = at;
        image.symbols = reinterpret_cast<const SymbolTable*>(bytes + s->offset + (at - s->address));
        break;
    }
    return image;
}

}  // namespace margay::init
