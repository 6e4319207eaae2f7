#include "engine/io/weight_format.h"
