// The back end that this kernel is built with. Host tests put a header of their own in its place.
#pragma once
#include "ukernel/arch/x86_64/svm/context.hpp"
