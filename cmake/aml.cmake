# margay_aml(NAME n SOURCE f.asl) compiles an ACPI table and makes the interface library aml_n:
# linking to it provides the header "aml/n.hpp", which defines
#   namespace margay::aml { inline constexpr unsigned char n[] = { … }; }
# A table compiled by iasl carries no time stamp, so equal sources give equal bytes.

function(margay_aml)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;SOURCE" "")
    find_program(MARGAY_IASL iasl REQUIRED)
    cmake_path(ABSOLUTE_PATH arg_SOURCE BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set(directory ${PROJECT_BINARY_DIR}/generated/aml)
    set(header ${directory}/${arg_NAME}.hpp)
    add_custom_command(
        OUTPUT ${header}
        COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tools/aml.py
            --iasl ${MARGAY_IASL} --name ${arg_NAME} ${arg_SOURCE} ${header}
        DEPENDS ${arg_SOURCE} ${PROJECT_SOURCE_DIR}/tools/aml.py
        COMMENT "ACPI table ${arg_NAME}"
        VERBATIM)
    add_custom_target(aml_${arg_NAME}_header DEPENDS ${header})
    if(NOT TARGET generated_headers)
        add_custom_target(generated_headers)  # for ./margay lint, which comes before any build
    endif()
    add_dependencies(generated_headers aml_${arg_NAME}_header)
    add_library(aml_${arg_NAME} INTERFACE)
    target_include_directories(aml_${arg_NAME} INTERFACE ${PROJECT_BINARY_DIR}/generated)
    add_dependencies(aml_${arg_NAME} aml_${arg_NAME}_header)
endfunction()
