# The instruction decoder. Debian ships Zydis as a shared library only; `./margay setup` puts its
# source package into the cache, and this builds the decoder from it without libc: `zydis` for
# target code, `zydis_host` for unit tests and fuzz targets. Headers of Zycore: libzycore-dev.

set(margay_zydis ${MARGAY_CACHE}/zydis)
if(NOT EXISTS ${margay_zydis}/include/Zydis/Zydis.h)
    message(FATAL_ERROR "the Zydis sources are not in ${MARGAY_CACHE}: run ./margay setup")
endif()

set(margay_zydis_sources "")
foreach(source IN ITEMS
        Decoder DecoderData MetaInfo Mnemonic Register Segment SharedData String Utils Zydis)
    list(APPEND margay_zydis_sources ${margay_zydis}/src/${source}.c)
endforeach()

function(margay_zydis_library name kind)
    add_library(${name} STATIC EXCLUDE_FROM_ALL ${margay_zydis_sources})
    target_include_directories(${name} PRIVATE ${margay_zydis}/src)
    # As system headers, so that our warnings stay ours.
    target_include_directories(${name} SYSTEM PUBLIC ${margay_zydis}/include)
    target_compile_definitions(${name} PUBLIC
        ZYAN_NO_LIBC ZYDIS_STATIC_BUILD ZYCORE_STATIC_BUILD
        ZYDIS_DISABLE_FORMATTER ZYDIS_DISABLE_ENCODER)
    target_link_libraries(${name} PRIVATE ${kind})
endfunction()

margay_seed_sources(${margay_zydis_sources})
if(NOT MARGAY_FUZZ)
    margay_zydis_library(zydis margay_target)
endif()
margay_zydis_library(zydis_host margay_host)
