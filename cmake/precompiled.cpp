// Nothing: the target of target_code.cmake that has the precompiled headers needs a source.
