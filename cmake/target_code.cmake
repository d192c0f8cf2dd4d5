# The kernel, user-level programs and their libraries.
#
# An image is linked twice. The first link has an empty symbol table; tools/symbols.py turns its
# function symbols into an assembler file; the second link has that table in place of the empty one.
# The linker scripts put the section .margay_symbols behind all text, so text does not move, and the
# build fails if it does. Link-time optimisation is done in the first link only (tools/link.py). What a node loads is modules/NAME, without the ELF symbols and debug
# information that NAME.elf keeps for the debugger.

# Debian's own: another one in the user's path may be of any age.
set(Python3_EXECUTABLE /usr/bin/python3)

# Archive members are chosen before LTO creates calls to memcpy and friends, so the files that
# define those must be ordinary objects. They must not be compiled into calls of themselves either.
function(margay_no_lto)
    foreach(source IN LISTS ARGN)
        set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS
            -fno-lto -fno-builtin
            $<$<CXX_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns>)
        set_property(SOURCE ${source} PROPERTY SKIP_PRECOMPILE_HEADERS ON)
    endforeach()
endfunction()

# Headers of the standard library that many sources include: reading them takes half of the time of compiling most. A
# source still has to include what it uses, as host tests compile the same ones without this. A cache of compiled files,
# which stands before the compiler, cannot look into it.
set(margay_common_headers <algorithm> <array> <atomic> <bit> <cstddef> <cstdint> <cstring> <new> <optional> <span>
    <string_view> <type_traits> <utility>)
if(margay_lto_flags AND NOT CMAKE_CXX_COMPILER_LAUNCHER AND NOT MARGAY_FUZZ)
    # All user-level code has the same flags.
    add_library(margay_user_headers OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/cmake/precompiled.cpp)
    target_link_libraries(margay_user_headers PRIVATE margay_target margay_warnings)
    target_precompile_headers(margay_user_headers PRIVATE ${margay_common_headers})
endif()

function(margay_precompile target kind)
    list(LENGTH ARGN count)
    if(NOT TARGET margay_user_headers)
        return()
    elseif(kind STREQUAL margay_target)
        target_precompile_headers(${target} REUSE_FROM margay_user_headers)
    elseif(count GREATER 6)
        target_precompile_headers(${target} PRIVATE ${margay_common_headers})
    endif()
endfunction()

# Sources that are compiled together, eight at a time: most of the time of compiling one of them goes into headers
# that the others include as well. Only where the code is optimised as a whole anyway: the presets debug and clang,
# host tests and lint compile each source by itself. Sets `result` to what is to be compiled in place of the sources.
set(margay_together_count 8)
function(margay_together result name)
    set(sources ${ARGN})
    if(NOT margay_lto_flags OR margay_together_count EQUAL 1)
        set(${result} ${sources} PARENT_SCOPE)
        return()
    endif()
    set(together ${sources})
    list(FILTER sources EXCLUDE REGEX "\\.cpp$")
    list(FILTER together INCLUDE REGEX "\\.cpp$")
    set(number 0)
    list(LENGTH together count)
    while(number LESS count)
        list(SUBLIST together ${number} ${margay_together_count} some)
        set(text "")
        foreach(source IN LISTS some)
            cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
            string(APPEND text "#include \"${source}\"\n")
        endforeach()
        set(file ${CMAKE_CURRENT_BINARY_DIR}/together/${name}.${number}.cpp)
        file(CONFIGURE OUTPUT ${file} CONTENT "${text}" @ONLY)
        list(APPEND sources ${file})
        math(EXPR number "${number} + ${margay_together_count}")
    endwhile()
    set(${result} ${sources} PARENT_SCOPE)
endfunction()

function(margay_library)
    cmake_parse_arguments(PARSE_ARGV 0 arg "KERNEL" "NAME" "SOURCES;LIBRARIES;NO_LTO_SOURCES")
    if(MARGAY_FUZZ)
        return()
    endif()
    margay_together(sources ${arg_NAME} ${arg_SOURCES})
    add_library(${arg_NAME} STATIC ${sources} ${arg_NO_LTO_SOURCES})
    margay_seed_sources(${sources} ${arg_NO_LTO_SOURCES})
    margay_no_lto(${arg_NO_LTO_SOURCES})
    set(kind margay_target)
    if(arg_KERNEL)
        set(kind margay_target_kernel)
    endif()
    target_link_libraries(${arg_NAME} PRIVATE ${kind})
    margay_precompile(${arg_NAME} ${kind} ${sources})
    target_link_libraries(${arg_NAME} PRIVATE margay_warnings PUBLIC ${arg_LIBRARIES})
endfunction()

function(margay_image name kind linker_script sources no_lto_sources libraries)
    margay_together(sources ${name} ${sources})
    add_library(${name}.objects OBJECT ${sources} ${no_lto_sources})
    margay_seed_sources(${sources} ${no_lto_sources})
    margay_no_lto(${no_lto_sources})
    margay_precompile(${name}.objects ${kind} ${sources})
    target_link_libraries(${name}.objects PRIVATE ${kind} margay_warnings ${libraries})

    set(table ${CMAKE_CURRENT_BINARY_DIR}/${name}.symbols.S)
    set(module ${PROJECT_BINARY_DIR}/modules/${name})
    set(symbols ${PROJECT_SOURCE_DIR}/tools/symbols.py)

    add_executable(${name}.unsymbolised
        $<TARGET_OBJECTS:${name}.objects> ${PROJECT_SOURCE_DIR}/cmake/empty_symbols.S)
    add_executable(${name} $<TARGET_OBJECTS:${name}.objects> ${table})
    foreach(link IN ITEMS ${name}.unsymbolised ${name})
        target_link_libraries(${link} PRIVATE ${kind} ${libraries})
        target_link_options(${link} PRIVATE -Wl,-T,${linker_script})
        set_target_properties(${link} PROPERTIES
            LINK_DEPENDS ${linker_script}
            LINKER_LANGUAGE CXX
            RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/elf
            SUFFIX .elf)
    endforeach()

    if(margay_lto_flags)
        set(launch "${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/link.py")
        set_target_properties(${name}.unsymbolised PROPERTIES RULE_LAUNCH_LINK "${launch} first elf/${name}.link")
        set_target_properties(${name} PROPERTIES RULE_LAUNCH_LINK "${launch} again elf/${name}.link")
        foreach(link IN ITEMS ${name}.unsymbolised ${name})
            set_property(TARGET ${link} APPEND PROPERTY LINK_DEPENDS ${PROJECT_SOURCE_DIR}/tools/link.py)
        endforeach()
    endif()
    add_custom_command(
        OUTPUT ${table}
        COMMAND ${Python3_EXECUTABLE} ${symbols} table $<TARGET_FILE:${name}.unsymbolised> ${table}
        DEPENDS ${name}.unsymbolised ${symbols}
        COMMENT "Symbols of ${name}"
        VERBATIM)
    add_custom_command(
        TARGET ${name} POST_BUILD
        COMMAND ${Python3_EXECUTABLE} ${symbols} compare
            $<TARGET_FILE:${name}.unsymbolised> $<TARGET_FILE:${name}>
        COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/modules
        COMMAND ${CMAKE_OBJCOPY} --strip-all $<TARGET_FILE:${name}> ${module}
        BYPRODUCTS ${module}
        VERBATIM)
    set_target_properties(${name} PROPERTIES MARGAY_MODULE ${module})
endfunction()

function(margay_kernel)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;LINKER_SCRIPT"
        "SOURCES;LIBRARIES;NO_LTO_SOURCES")
    if(MARGAY_FUZZ)
        return()
    endif()
    cmake_path(ABSOLUTE_PATH arg_LINKER_SCRIPT BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    margay_image(${arg_NAME} margay_target_kernel ${arg_LINKER_SCRIPT}
        "${arg_SOURCES}" "${arg_NO_LTO_SOURCES}" "${arg_LIBRARIES}")
endfunction()

function(margay_program)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SOURCES;LIBRARIES;NO_LTO_SOURCES")
    if(MARGAY_FUZZ)
        return()
    endif()
    margay_image(${arg_NAME} margay_target ${PROJECT_SOURCE_DIR}/libipc/program.ld
        "${arg_SOURCES}" "${arg_NO_LTO_SOURCES}" "${arg_LIBRARIES}")
endfunction()
