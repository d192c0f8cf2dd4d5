// What every program in a host program needs beside its own sources.

// A process ends without a word: its static objects are never destroyed.
extern "C" [[gnu::visibility("hidden")]] int __cxa_atexit(void (*)(void*), void*, void*) {
    return 0;
}
