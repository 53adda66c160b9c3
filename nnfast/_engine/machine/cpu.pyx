"""The instruction sets that the processor and the operating system support."""

cdef extern from *:
    """
    #if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    static int cpu_has_avx2(void)
    {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    }
    static int cpu_has_avx512(void)
    {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512cd");
    }
    #else
    static int cpu_has_avx2(void) { return 0; }
    static int cpu_has_avx512(void) { return 0; }
    #endif
    """
    int cpu_has_avx2()
    int cpu_has_avx512()


def supported():
    """Return the names of the instruction sets that can run here, widest first."""
    names = ["base"]
    if cpu_has_avx2():
        names.insert(0, "avx2")
        if cpu_has_avx512():
            names.insert(0, "avx512")
    return names
