#include "kernels/cpu.h"
