/* The symbol table of the first of an image's two links; see target_code.cmake. */
        .section .margay_symbols, "a", @progbits
        .balign 256
        .globl  margay_symbols_begin
margay_symbols_begin:
        .long   0x4d59534d
        .long   0
        .quad   0
        .section .note.GNU-stack, "", @progbits
