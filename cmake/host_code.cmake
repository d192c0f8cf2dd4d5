# Code that runs on the build machine: unit tests and fuzz targets, with sanitizers.
#
# Fuzz targets need clang. The fuzz preset builds them and nothing else; the other presets drive
# that build as one step of their own and run each target for a bounded time as a test.

if(MARGAY_FUZZ)
    if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "MARGAY_FUZZ needs clang: use the preset fuzz")
    endif()
elseif(MARGAY_TESTS)
    find_package(GTest REQUIRED)
    include(GoogleTest)
    # Beside this one, as tools/build.py has it.
    cmake_path(GET PROJECT_BINARY_DIR PARENT_PATH margay_build_dir)
    set(margay_fuzz_binary_dir ${margay_build_dir}/fuzz)
endif()

function(margay_host_library)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME" "SOURCES;LIBRARIES")
    add_library(${arg_NAME} STATIC EXCLUDE_FROM_ALL ${arg_SOURCES})
    target_link_libraries(${arg_NAME}
        PRIVATE margay_warnings PUBLIC margay_host ${arg_LIBRARIES})
endfunction()

# One ctest entry per test case, unit.NAME.Suite.Case.
function(margay_unit_test)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;TIMEOUT" "SOURCES;LIBRARIES")
    if(MARGAY_FUZZ)
        return()
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    set(target unit_${arg_NAME})
    add_executable(${target} ${arg_SOURCES})
    target_link_libraries(${target}
        PRIVATE margay_host margay_warnings ${arg_LIBRARIES} GTest::gmock GTest::gtest_main)
    set_target_properties(${target} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/unit)
    # Values are not printed: of those that are structures, it would be what happens to lie in their padding.
    gtest_discover_tests(${target} NO_PRETTY_VALUES
        TEST_PREFIX unit.${arg_NAME}.
        DISCOVERY_TIMEOUT 60
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
        PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS unit)
endfunction()

function(margay_fuzz_target)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;RUNS;MAX_LENGTH" "SOURCES;LIBRARIES")
    set(target fuzz_${arg_NAME})
    if(MARGAY_FUZZ)
        add_executable(${target} ${arg_SOURCES})
        target_link_libraries(${target} PRIVATE margay_host margay_warnings ${arg_LIBRARIES})
        target_link_options(${target} PRIVATE -fsanitize=fuzzer)
        set_target_properties(${target} PROPERTIES
            RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
        return()
    endif()
    if(NOT arg_RUNS)
        set(arg_RUNS 20000)
    endif()
    if(NOT arg_MAX_LENGTH)
        set(arg_MAX_LENGTH 4096)
    endif()
    if(NOT TARGET fuzz_build)
        # Always run: only the other build knows whether something is to be done.
        add_custom_target(fuzz_build ALL
            COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/build.py
                --build-dir ${margay_build_dir} fuzz
            COMMENT "Fuzz targets"
            VERBATIM)
    endif()
    set(corpus ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${arg_NAME})
    # libFuzzer adds what it finds to the first corpus it is given.
    set(found ${PROJECT_BINARY_DIR}/fuzz/${arg_NAME})
    file(MAKE_DIRECTORY ${corpus} ${found})
    add_test(NAME fuzz.${arg_NAME}
        COMMAND ${margay_fuzz_binary_dir}/bin/${target}
            -seed=1 -runs=${arg_RUNS} -max_total_time=30 -timeout=10 -rss_limit_mb=1024
            -max_len=${arg_MAX_LENGTH} -print_final_stats=1 -verbosity=0
            -artifact_prefix=${found}/ ${found} ${corpus})
    set_tests_properties(fuzz.${arg_NAME} PROPERTIES TIMEOUT 120 LABELS fuzz)
endfunction()
