include "variant.pxi"
