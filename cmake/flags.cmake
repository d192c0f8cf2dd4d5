# The compiler and linker flags, as interface libraries that each kind of target links to.

if(DEFINED ENV{MARGAY_CACHE})
    set(MARGAY_CACHE $ENV{MARGAY_CACHE})
elseif(DEFINED ENV{XDG_CACHE_HOME})
    set(MARGAY_CACHE $ENV{XDG_CACHE_HOME}/margay)
else()
    set(MARGAY_CACHE $ENV{HOME}/.cache/margay)
endif()

set(margay_is_gcc $<CXX_COMPILER_ID:GNU>)
set(margay_is_clang $<CXX_COMPILER_ID:Clang>)
set(margay_is_debug $<CONFIG:Debug>)
set(margay_is_cxx $<COMPILE_LANGUAGE:CXX>)
set(margay_is_compiled $<COMPILE_LANGUAGE:C,CXX>)

# Where the tree, the build directory and the cache are must not show in what is built. The compiler
# tries the last one first, and the build directory is usually inside the tree.
set(margay_prefix_maps
    -ffile-prefix-map=${MARGAY_CACHE}=/margay/third_party
    -ffile-prefix-map=${PROJECT_SOURCE_DIR}=/margay
    -ffile-prefix-map=${PROJECT_BINARY_DIR}=/margay/build)

# All code of ours. Third-party code links to the kind libraries below without this one.
add_library(margay_warnings INTERFACE)
target_compile_options(margay_warnings INTERFACE
    $<${margay_is_compiled}:-Wall;-Wextra;-Werror>)

add_library(margay_common INTERFACE)
target_include_directories(margay_common INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(margay_common INTERFACE ${margay_prefix_maps} -g)

# Target code: the kernel and the programs that run on it.
set(margay_lto_flags "")
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # One partition: the images are small, and the split into several would hide calls from the
    # inliner. clang builds have no LTO; they are there for its diagnostics.
    set(margay_lto_flags -flto -flto-partition=one)
    # The plain archiver does not index LTO objects everywhere; the compiler's wrapper does.
    set(CMAKE_AR ${CMAKE_CXX_COMPILER_AR})
    set(CMAKE_RANLIB ${CMAKE_CXX_COMPILER_RANLIB})
endif()

# General registers only: a trap must not clobber the floating-point state of what it interrupts.
# clang 14's -mgeneral-regs-only also rejects the declarations with double in the standard headers;
# without MMX and SSE it has no registers to vectorise into, and nothing here uses floating point.
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    set(margay_register_flags -mno-mmx -mno-sse)
else()
    set(margay_register_flags -mgeneral-regs-only)
endif()

set(margay_machine_flags
    -ffreestanding
    ${margay_register_flags}
    -mno-red-zone
    -fno-stack-protector
    -fno-pic
    -fno-pie
    -fno-omit-frame-pointer
    -fno-asynchronous-unwind-tables
    -fcf-protection=none
    -ffunction-sections
    -fdata-sections)

add_library(margay_target INTERFACE)
target_link_libraries(margay_target INTERFACE margay_common)
target_compile_options(margay_target INTERFACE
    $<IF:${margay_is_debug},-O1,-O2>
    $<${margay_is_compiled}:${margay_machine_flags};${margay_lto_flags}>
    $<${margay_is_cxx}:-fno-exceptions;-fno-rtti;-fno-threadsafe-statics>)
target_compile_definitions(margay_target INTERFACE
    $<IF:${margay_is_debug},MARGAY_DEBUG=1,NDEBUG>)
target_link_options(margay_target INTERFACE
    $<${margay_is_clang}:-fuse-ld=lld>
    ${margay_machine_flags} ${margay_lto_flags} ${margay_prefix_maps}
    $<IF:${margay_is_debug},-O1,-O2>
    -g
    -nostdlib
    -static
    -Wl,--gc-sections
    -Wl,--build-id=none
    -Wl,-z,max-page-size=0x1000
    -Wl,-z,noexecstack
    # A segment that is writable and executable is a warning by default.
    -Wl,--fatal-warnings)

add_library(margay_target_kernel INTERFACE)
target_link_libraries(margay_target_kernel INTERFACE margay_target)
target_compile_options(margay_target_kernel INTERFACE $<${margay_is_compiled}:-mcmodel=kernel>)
target_link_options(margay_target_kernel INTERFACE -mcmodel=kernel)
# Indirect branches go through thunks of the kernel's own (ukernel/arch/x86_64/mitigation.S). clang would
# want others; its build is there for its diagnostics.
set(margay_branch_flags -fno-jump-tables)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND margay_branch_flags -mindirect-branch=thunk-extern -mindirect-branch-register)
endif()
target_compile_options(margay_target_kernel INTERFACE $<${margay_is_compiled}:${margay_branch_flags}>)
target_link_options(margay_target_kernel INTERFACE ${margay_branch_flags})

# Host code: unit tests and fuzz targets, over the same sources. Assertions are always on.
set(margay_sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all)
add_library(margay_host INTERFACE)
target_link_libraries(margay_host INTERFACE margay_common)
target_compile_definitions(margay_host INTERFACE MARGAY_DEBUG=1)
target_compile_options(margay_host INTERFACE
    -O1 $<${margay_is_compiled}:-fno-omit-frame-pointer;${margay_sanitizers}>)
target_link_options(margay_host INTERFACE ${margay_sanitizers})
if(MARGAY_FUZZ)
    target_compile_options(margay_host INTERFACE $<${margay_is_compiled}:-fsanitize=fuzzer-no-link>)
endif()

# Seeds what the compiler would take from a random number (names of LTO sections, of anonymous
# namespaces), with something that differs per file but not per build. Takes relative or absolute
# source names.
function(margay_seed_sources)
    foreach(source IN LISTS ARGN)
        if(NOT source MATCHES "\\.(c|cc|cpp)$")
            continue()
        endif()
        cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE
            OUTPUT_VARIABLE seed)
        foreach(base IN ITEMS ${MARGAY_CACHE} ${PROJECT_BINARY_DIR} ${PROJECT_SOURCE_DIR})
            cmake_path(IS_PREFIX base ${seed} is_below)
            if(is_below)
                cmake_path(RELATIVE_PATH seed BASE_DIRECTORY ${base})
                break()
            endif()
        endforeach()
        set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS -frandom-seed=${seed})
    endforeach()
endfunction()
