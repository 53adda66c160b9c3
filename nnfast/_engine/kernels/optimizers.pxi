"""In-place optimizer updates of a flat range of weights. The formulas and symbols are those of Keras.

First, the gradient is transformed: the derivative of the regularizer is added, and the sum is scaled by the
factor for clipping by norm and clipped by value. Then weight decay, the optimizer's rule and the moving
average of the weights are applied. Options that are not set cost nothing.

Each optimizer has a section below, which contains its functions and the structs for its settings and step
constants, and a row in the table at the end. In formulas, η is the learning rate, μ the momentum, g the
gradient and w a weight; m and v are optimizer slots.
"""

cdef enum:
    NADAM_LIMIT = 1000      # beyond this step, 1 − 0.5·0.96^t rounds to 1 in float64
    MAX_STATE = 3           # maximum number of slots that a rule uses
    MAX_CONSTANTS = 8       # maximum number of vectors that a rule computes once per step

# The constants of one step, computed in float64. The rule's constants are broadcast to all lanes.
ctypedef struct StepConstants:
    vreal rule[MAX_CONSTANTS]   # a struct of vectors, declared in the rule's section
    double decay                # learning rate · weight decay
    double ema_momentum         # momentum of the moving average in this step
    double regularizer_scale    # factor by which the objective scales all penalties

# How the gradient of one parameter is regularized and clipped.
ctypedef struct GradientTransform:
    double l1, l2               # the regularizer l1·Σ|w| + l2·Σw²
    double clip_factor          # factor for clipping by norm; 1: no clipping by norm
    double clip_value           # 0: no clipping by value

# n weights, their gradients and optimizer slots; slot k begins at slots + k·stride.
ctypedef struct ParameterRange:
    Py_ssize_t n
    real* w
    const real* g
    real* slots
    Py_ssize_t stride
    real* average               # moving average of w, or NULL

# Nadam's product Π (u_i / β₁) over steps i ≤ t, kept from step to step; u_i is β₁·(1 − 0.5·0.96^i).
ctypedef struct WarmupProduct:
    Py_ssize_t t
    double value

# A rule returns the new value of a vector of weights and updates their slots, `state`, in place.
ctypedef vreal (*Rule)(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil


# ---- the update of a range -----------------------------------------------------------------------

cdef inline vreal transformed(const GradientTransform* transform, vreal g, vreal w) noexcept nogil:
    """Return the gradient after adding the derivative of the regularizer and clipping."""
    cdef vreal sign = vselect(vgt(w, vsplat(0)), vsplat(1), vselect(vgt(vsplat(0), w), vsplat(-1), vsplat(0)))
    g = g + vsplat(<real>transform.l1) * sign + vsplat(<real>(2 * transform.l2)) * w
    g = g * vsplat(<real>transform.clip_factor)
    if transform.clip_value > 0:
        g = vmax(vsplat(<real>-transform.clip_value), vmin(vsplat(<real>transform.clip_value), g))
    return g


cdef inline void update_vectors(Rule rule, int n_slots, bint plain, const StepConstants* s,
                                const GradientTransform* transform, const ParameterRange* p) noexcept nogil:
    """Update the weights, slots and moving average for the whole vectors of a range.

    rule, n_slots and plain are compile-time constants at every call site. plain: the optimizer's rule is
    applied without any options.
    """
    cdef Py_ssize_t q, i, stride = p.stride
    cdef int k
    cdef vreal w, g
    cdef vreal state[MAX_STATE]
    # In registers: to the compiler, any store might change the fields of p.
    cdef real* weights = p.w
    cdef const real* gradients = p.g
    cdef real* slots = p.slots
    for q in range(p.n // VLEN):
        i = q * VLEN
        w = vload(weights + i)
        g = vload(gradients + i)
        for k in range(n_slots):
            state[k] = vload(slots + k * stride + i)
        if not plain:
            g = transformed(transform, g, w)
            w = w - vsplat(<real>s.decay) * w
        w = rule(s, w, g, state)
        vstore(weights + i, w)
        for k in range(n_slots):
            vstore(slots + k * stride + i, state[k])
        if not plain and p.average != NULL:
            vstore(p.average + i, w + vsplat(<real>s.ema_momentum) * (vload(p.average + i) - w))


cdef inline void update_with(Rule rule, int n_slots, const StepConstants* s,
                             const GradientTransform* transform, const ParameterRange* p) noexcept nogil:
    """Update the weights, slots and moving average of a range; a partial last vector is copied and padded."""
    cdef bint plain = (transform.l1 == 0 and transform.l2 == 0 and transform.clip_factor == 1
                       and transform.clip_value == 0 and s.decay == 0 and p.average == NULL)
    cdef Py_ssize_t left = p.n % VLEN, i = p.n - left
    cdef ParameterRange padded
    cdef int k
    cdef real tail[MAX_STATE + 3][16]
    if plain:
        update_vectors(rule, n_slots, True, s, transform, p)
    else:
        update_vectors(rule, n_slots, False, s, transform, p)
    if left == 0:
        return
    memset(tail, 0, sizeof(tail))
    memcpy(&tail[0][0], p.w + i, left * sizeof(real))
    memcpy(&tail[1][0], p.g + i, left * sizeof(real))
    for k in range(n_slots):
        memcpy(&tail[2 + k][0], p.slots + k * p.stride + i, left * sizeof(real))
    if p.average != NULL:
        memcpy(&tail[5][0], p.average + i, left * sizeof(real))
    padded = ParameterRange(VLEN, &tail[0][0], &tail[1][0], &tail[2][0], 16, NULL)
    if p.average != NULL:
        padded.average = &tail[5][0]
    update_vectors(rule, n_slots, False, s, transform, &padded)
    memcpy(p.w + i, &tail[0][0], left * sizeof(real))
    for k in range(n_slots):
        memcpy(p.slots + k * p.stride + i, &tail[2 + k][0], left * sizeof(real))
    if p.average != NULL:
        memcpy(p.average + i, &tail[5][0], left * sizeof(real))


cdef inline double power(double base, Py_ssize_t n) noexcept nogil:
    """Return base^n by repeated squaring. The result does not depend on earlier steps."""
    cdef double result = 1
    while n > 0:
        if n & 1:
            result *= base
        base *= base
        n >>= 1
    return result


# ---- SGD -----------------------------------------------------------------------------------------

ctypedef struct SGDConstants:
    vreal lr, momentum

ctypedef struct SGDSettings:
    double momentum, nesterov


cdef inline const SGDConstants* sgd_constants(const StepConstants* s) noexcept nogil:
    return <const SGDConstants*><const void*>s.rule


cdef int slots_sgd(const void* settings) noexcept nogil:
    return 1 if (<const SGDSettings*>settings).momentum != 0 else 0


cdef void prepare_sgd(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                      vreal* constants) noexcept nogil:
    cdef SGDConstants* c = <SGDConstants*>constants
    c.lr = vsplat(<real>lr)
    c.momentum = vsplat(<real>(<const SGDSettings*>settings).momentum)


cdef inline vreal sgd(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """w ← w − η·g."""
    return w - sgd_constants(s).lr * g


cdef inline vreal momentum(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """v ← μ·v − η·g; w ← w + v."""
    state[0] = sgd_constants(s).momentum * state[0] - sgd_constants(s).lr * g
    return w + state[0]


cdef inline vreal nesterov(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """v ← μ·v − η·g; w ← w + μ·v − η·g."""
    state[0] = sgd_constants(s).momentum * state[0] - sgd_constants(s).lr * g
    return w + (sgd_constants(s).momentum * state[0] - sgd_constants(s).lr * g)


cdef void update_sgd(const void* settings, const StepConstants* s, const GradientTransform* transform,
                     const ParameterRange* p) noexcept nogil:
    if (<const SGDSettings*>settings).momentum == 0:
        update_with(sgd, 0, s, transform, p)
    elif (<const SGDSettings*>settings).nesterov == 0:
        update_with(momentum, 1, s, transform, p)
    else:
        update_with(nesterov, 1, s, transform, p)


# ---- Adam ----------------------------------------------------------------------------------------

ctypedef struct AdamConstants:
    vreal lr            # α_t = η·√(1 − β₂^t) / (1 − β₁^t)
    vreal one_minus_beta_1, one_minus_beta_2, epsilon

ctypedef struct AdamSettings:
    double beta_1, beta_2, epsilon, amsgrad


cdef inline const AdamConstants* adam_constants(const StepConstants* s) noexcept nogil:
    return <const AdamConstants*><const void*>s.rule


cdef int slots_adam(const void* settings) noexcept nogil:
    return 3 if (<const AdamSettings*>settings).amsgrad != 0 else 2


cdef void prepare_adam(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                       vreal* constants) noexcept nogil:
    cdef AdamConstants* c = <AdamConstants*>constants
    cdef const AdamSettings* h = <const AdamSettings*>settings
    c.lr = vsplat(<real>(lr * sqrt(1 - power(h.beta_2, t)) / (1 - power(h.beta_1, t))))
    c.one_minus_beta_1 = vsplat(<real>(1 - h.beta_1))
    c.one_minus_beta_2 = vsplat(<real>(1 - h.beta_2))
    c.epsilon = vsplat(<real>h.epsilon)


cdef inline vreal adam(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """m ← m + (1 − β₁)·(g − m); v ← v + (1 − β₂)·(g² − v); w ← w − α_t·m / (√v + ε)."""
    state[0] = state[0] + (g - state[0]) * adam_constants(s).one_minus_beta_1
    state[1] = state[1] + (g * g - state[1]) * adam_constants(s).one_minus_beta_2
    return w - (adam_constants(s).lr * state[0]) * vrecip(vsqrt(state[1]) + adam_constants(s).epsilon)


cdef inline vreal amsgrad(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """adam with the maximum of all v so far instead of v."""
    state[0] = state[0] + (g - state[0]) * adam_constants(s).one_minus_beta_1
    state[1] = state[1] + (g * g - state[1]) * adam_constants(s).one_minus_beta_2
    state[2] = vmax(state[2], state[1])
    return w - (adam_constants(s).lr * state[0]) * vrecip(vsqrt(state[2]) + adam_constants(s).epsilon)


cdef void update_adam(const void* settings, const StepConstants* s, const GradientTransform* transform,
                      const ParameterRange* p) noexcept nogil:
    if (<const AdamSettings*>settings).amsgrad == 0:
        update_with(adam, 2, s, transform, p)
    else:
        update_with(amsgrad, 3, s, transform, p)


# ---- Nadam ---------------------------------------------------------------------------------------

ctypedef struct NadamConstants:
    vreal lr, gradient_lr   # factors of m and g
    vreal one_minus_beta_1, one_minus_beta_2, epsilon
    vreal bias_2            # 1 / (1 − β₂^t)

ctypedef struct NadamSettings:
    double beta_1, beta_2, epsilon


cdef inline const NadamConstants* nadam_constants(const StepConstants* s) noexcept nogil:
    return <const NadamConstants*><const void*>s.rule


cdef int slots_nadam(const void* settings) noexcept nogil:
    return 2


cdef inline double nadam_u(Py_ssize_t t) noexcept nogil:
    """u_t / β₁ = 1 − 0.5·0.96^t."""
    return 1 - 0.5 * power(0.96, t)


cdef double nadam_product(WarmupProduct* known, Py_ssize_t t) noexcept nogil:
    """Return Π_{i ≤ t} (1 − 0.5·0.96^i), multiplied in the order of i, starting from the known product."""
    cdef Py_ssize_t last = min(t, <Py_ssize_t>NADAM_LIMIT)
    if known.t > last or known.t < 1:
        known.t = 0
        known.value = 1
    while known.t < last:
        known.t += 1
        known.value *= nadam_u(known.t)
    return known.value


cdef void prepare_nadam(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                        vreal* constants) noexcept nogil:
    cdef NadamConstants* c = <NadamConstants*>constants
    cdef const NadamSettings* h = <const NadamSettings*>settings
    cdef double u = h.beta_1 * nadam_u(t), u_next = h.beta_1 * nadam_u(t + 1)
    cdef double u_product = power(h.beta_1, t) * nadam_product(product, t)
    cdef double next_product = u_product * u_next
    c.lr = vsplat(<real>(lr * u_next / (1 - next_product)))
    c.gradient_lr = vsplat(<real>(lr * (1 - u) / (1 - u_product)))
    c.one_minus_beta_1 = vsplat(<real>(1 - h.beta_1))
    c.one_minus_beta_2 = vsplat(<real>(1 - h.beta_2))
    c.epsilon = vsplat(<real>h.epsilon)
    c.bias_2 = vsplat(<real>(1 / (1 - power(h.beta_2, t))))


cdef inline vreal nadam(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """adam with m replaced by a weighted sum of m and g, and v by its bias-corrected value."""
    state[0] = state[0] + (g - state[0]) * nadam_constants(s).one_minus_beta_1
    state[1] = state[1] + (g * g - state[1]) * nadam_constants(s).one_minus_beta_2
    return w - ((nadam_constants(s).lr * state[0] + nadam_constants(s).gradient_lr * g)
                * vrecip(vsqrt(nadam_constants(s).bias_2 * state[1]) + nadam_constants(s).epsilon))


cdef void update_nadam(const void* settings, const StepConstants* s, const GradientTransform* transform,
                       const ParameterRange* p) noexcept nogil:
    update_with(nadam, 2, s, transform, p)


# ---- RMSprop -------------------------------------------------------------------------------------

ctypedef struct RMSpropConstants:
    vreal lr, one_minus_rho, momentum, epsilon, centered

ctypedef struct RMSpropSettings:
    double rho, momentum, epsilon, centered


cdef inline const RMSpropConstants* rmsprop_constants(const StepConstants* s) noexcept nogil:
    return <const RMSpropConstants*><const void*>s.rule


cdef int slots_rmsprop(const void* settings) noexcept nogil:
    cdef const RMSpropSettings* h = <const RMSpropSettings*>settings
    return 3 if h.momentum != 0 or h.centered != 0 else 1


cdef void prepare_rmsprop(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                          vreal* constants) noexcept nogil:
    cdef RMSpropConstants* c = <RMSpropConstants*>constants
    cdef const RMSpropSettings* h = <const RMSpropSettings*>settings
    c.lr = vsplat(<real>lr)
    c.one_minus_rho = vsplat(<real>(1 - h.rho))
    c.momentum = vsplat(<real>h.momentum)
    c.epsilon = vsplat(<real>h.epsilon)
    c.centered = vsplat(<real>h.centered)


cdef inline vreal rmsprop(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """v ← v + (1 − ρ)·(g² − v); w ← w − η·g / √(v + ε)."""
    state[0] = state[0] + (g * g - state[0]) * rmsprop_constants(s).one_minus_rho
    return w - rmsprop_constants(s).lr * g * vrecip(vsqrt(state[0] + rmsprop_constants(s).epsilon))


cdef inline vreal rmsprop_full(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """rmsprop with momentum and, if `centered` is 1, the variance of g instead of its mean square."""
    cdef vreal step
    state[0] = state[0] + (g * g - state[0]) * rmsprop_constants(s).one_minus_rho
    state[2] = state[2] + (g - state[2]) * rmsprop_constants(s).one_minus_rho * rmsprop_constants(s).centered
    step = rmsprop_constants(s).lr * g * vrecip(
        vsqrt(vmax(vsplat(0), state[0] - state[2] * state[2]) + rmsprop_constants(s).epsilon))
    state[1] = rmsprop_constants(s).momentum * state[1] + step
    return w - state[1]


cdef void update_rmsprop(const void* settings, const StepConstants* s, const GradientTransform* transform,
                         const ParameterRange* p) noexcept nogil:
    if slots_rmsprop(settings) == 1:
        update_with(rmsprop, 1, s, transform, p)
    else:
        update_with(rmsprop_full, 3, s, transform, p)


# ---- Adagrad -------------------------------------------------------------------------------------

ctypedef struct AdagradConstants:
    vreal lr, epsilon

ctypedef struct AdagradSettings:
    double epsilon


cdef inline const AdagradConstants* adagrad_constants(const StepConstants* s) noexcept nogil:
    return <const AdagradConstants*><const void*>s.rule


cdef int slots_adagrad(const void* settings) noexcept nogil:
    return 1


cdef void prepare_adagrad(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                          vreal* constants) noexcept nogil:
    cdef AdagradConstants* c = <AdagradConstants*>constants
    c.lr = vsplat(<real>lr)
    c.epsilon = vsplat(<real>(<const AdagradSettings*>settings).epsilon)


cdef inline vreal adagrad(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """v ← v + g²; w ← w − η·g / √(v + ε)."""
    state[0] = state[0] + g * g
    return w - adagrad_constants(s).lr * g * vrecip(vsqrt(state[0] + adagrad_constants(s).epsilon))


cdef void update_adagrad(const void* settings, const StepConstants* s, const GradientTransform* transform,
                         const ParameterRange* p) noexcept nogil:
    update_with(adagrad, 1, s, transform, p)


# ---- Lion ----------------------------------------------------------------------------------------

ctypedef struct LionConstants:
    vreal lr, one_minus_beta_1, one_minus_beta_2

ctypedef struct LionSettings:
    double beta_1, beta_2


cdef inline const LionConstants* lion_constants(const StepConstants* s) noexcept nogil:
    return <const LionConstants*><const void*>s.rule


cdef int slots_lion(const void* settings) noexcept nogil:
    return 1


cdef void prepare_lion(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                       vreal* constants) noexcept nogil:
    cdef LionConstants* c = <LionConstants*>constants
    c.lr = vsplat(<real>lr)
    c.one_minus_beta_1 = vsplat(<real>(1 - (<const LionSettings*>settings).beta_1))
    c.one_minus_beta_2 = vsplat(<real>(1 - (<const LionSettings*>settings).beta_2))


cdef inline vreal lion(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """w ← w − η·sign(m + (1 − β₁)·(g − m)); m ← m + (1 − β₂)·(g − m)."""
    cdef vreal c = state[0] + (g - state[0]) * lion_constants(s).one_minus_beta_1
    state[0] = state[0] + (g - state[0]) * lion_constants(s).one_minus_beta_2
    return w - lion_constants(s).lr * vselect(vgt(c, vsplat(0)), vsplat(1),
                                              vselect(vgt(vsplat(0), c), vsplat(-1), c))


cdef void update_lion(const void* settings, const StepConstants* s, const GradientTransform* transform,
                      const ParameterRange* p) noexcept nogil:
    update_with(lion, 1, s, transform, p)


# ---- Adadelta ------------------------------------------------------------------------------------

ctypedef struct AdadeltaConstants:
    vreal lr, one_minus_rho, epsilon

ctypedef struct AdadeltaSettings:
    double rho, epsilon


cdef inline const AdadeltaConstants* adadelta_constants(const StepConstants* s) noexcept nogil:
    return <const AdadeltaConstants*><const void*>s.rule


cdef int slots_adadelta(const void* settings) noexcept nogil:
    return 2


cdef void prepare_adadelta(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                           vreal* constants) noexcept nogil:
    cdef AdadeltaConstants* c = <AdadeltaConstants*>constants
    c.lr = vsplat(<real>lr)
    c.one_minus_rho = vsplat(<real>(1 - (<const AdadeltaSettings*>settings).rho))
    c.epsilon = vsplat(<real>(<const AdadeltaSettings*>settings).epsilon)


cdef inline vreal adadelta(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """v ← ρ·v + (1 − ρ)·g²; d = g·√(u + ε) / √(v + ε); u ← ρ·u + (1 − ρ)·d²; w ← w − η·d."""
    cdef vreal d
    state[0] = state[0] + (g * g - state[0]) * adadelta_constants(s).one_minus_rho
    d = g * vsqrt(state[1] + adadelta_constants(s).epsilon) * vrecip(
        vsqrt(state[0] + adadelta_constants(s).epsilon))
    state[1] = state[1] + (d * d - state[1]) * adadelta_constants(s).one_minus_rho
    return w - adadelta_constants(s).lr * d


cdef void update_adadelta(const void* settings, const StepConstants* s, const GradientTransform* transform,
                          const ParameterRange* p) noexcept nogil:
    update_with(adadelta, 2, s, transform, p)


# ---- Adamax --------------------------------------------------------------------------------------

ctypedef struct AdamaxConstants:
    vreal lr            # η / (1 − β₁^t)
    vreal one_minus_beta_1, beta_2, epsilon

ctypedef struct AdamaxSettings:
    double beta_1, beta_2, epsilon


cdef inline const AdamaxConstants* adamax_constants(const StepConstants* s) noexcept nogil:
    return <const AdamaxConstants*><const void*>s.rule


cdef int slots_adamax(const void* settings) noexcept nogil:
    return 2


cdef void prepare_adamax(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                         vreal* constants) noexcept nogil:
    cdef AdamaxConstants* c = <AdamaxConstants*>constants
    cdef const AdamaxSettings* h = <const AdamaxSettings*>settings
    c.lr = vsplat(<real>(lr / (1 - power(h.beta_1, t))))
    c.one_minus_beta_1 = vsplat(<real>(1 - h.beta_1))
    c.beta_2 = vsplat(<real>h.beta_2)
    c.epsilon = vsplat(<real>h.epsilon)


cdef inline vreal adamax(const StepConstants* s, vreal w, vreal g, vreal* state) noexcept nogil:
    """m ← m + (1 − β₁)·(g − m); u ← max(β₂·u, |g|); w ← w − η/(1 − β₁^t)·m / (u + ε)."""
    state[0] = state[0] + (g - state[0]) * adamax_constants(s).one_minus_beta_1
    state[1] = vmax(adamax_constants(s).beta_2 * state[1], vabs(g))
    return w - (adamax_constants(s).lr * state[0]) * vrecip(state[1] + adamax_constants(s).epsilon)


cdef void update_adamax(const void* settings, const StepConstants* s, const GradientTransform* transform,
                        const ParameterRange* p) noexcept nogil:
    update_with(adamax, 2, s, transform, p)


# ---- the table -----------------------------------------------------------------------------------

ctypedef struct OptimizerFunctions:
    int (*slots)(const void* settings) noexcept nogil       # number of slots
    void (*prepare)(const void* settings, double lr, Py_ssize_t t, WarmupProduct* product,
                    vreal* constants) noexcept nogil        # writes the constants of step t = 1, 2, …
    void (*update)(const void* settings, const StepConstants* s, const GradientTransform* transform,
                   const ParameterRange* p) noexcept nogil

cdef OptimizerFunctions OPTIMIZER_TABLE[64]

OPTIMIZER_TABLE[<int>OPT_SGD] = OptimizerFunctions(slots_sgd, prepare_sgd, update_sgd)
OPTIMIZER_TABLE[<int>OPT_ADAM] = OptimizerFunctions(slots_adam, prepare_adam, update_adam)
OPTIMIZER_TABLE[<int>OPT_NADAM] = OptimizerFunctions(slots_nadam, prepare_nadam, update_nadam)
OPTIMIZER_TABLE[<int>OPT_RMSPROP] = OptimizerFunctions(slots_rmsprop, prepare_rmsprop, update_rmsprop)
OPTIMIZER_TABLE[<int>OPT_ADAGRAD] = OptimizerFunctions(slots_adagrad, prepare_adagrad, update_adagrad)
OPTIMIZER_TABLE[<int>OPT_LION] = OptimizerFunctions(slots_lion, prepare_lion, update_lion)
OPTIMIZER_TABLE[<int>OPT_ADADELTA] = OptimizerFunctions(slots_adadelta, prepare_adadelta, update_adadelta)
OPTIMIZER_TABLE[<int>OPT_ADAMAX] = OptimizerFunctions(slots_adamax, prepare_adamax, update_adamax)


cdef int rule_slots(const OptimizerSettings* o) noexcept nogil:
    """Return the number of slots that the rule uses, not counting the slot of the moving average."""
    return OPTIMIZER_TABLE[o.kind].slots(o.rule)


cdef StepConstants step_constants(const OptimizerSettings* o, double lr, Py_ssize_t t,
                                  WarmupProduct* product) noexcept nogil:
    """Return the constants of step t = 1, 2, …; `product` is read and updated by Nadam."""
    cdef StepConstants s
    OPTIMIZER_TABLE[o.kind].prepare(o.rule, lr, t, product, s.rule)
    s.decay = lr * o.weight_decay
    s.ema_momentum = 0 if t == 1 else o.ema_momentum
    s.regularizer_scale = 1
    return s


cdef void update_step(const OptimizerSettings* o, const StepConstants* s, const GradientTransform* transform,
                      Py_ssize_t n, real* w, const real* g, real* slots, Py_ssize_t stride) noexcept nogil:
    """Update n weights and their slots, in place. The last slot is the moving average, if there is one."""
    cdef ParameterRange p = ParameterRange(n, w, g, slots, stride, NULL)
    if o.ema_momentum > 0:
        p.average = slots + (o.n_slots - 1) * stride
    OPTIMIZER_TABLE[o.kind].update(o.rule, s, transform, &p)


# ---- penalties and norms -------------------------------------------------------------------------

cdef double penalty_of(const GradientTransform* transform, Py_ssize_t n, const real* w) noexcept nogil:
    """Return l1·Σ|w| + l2·Σw² over n weights."""
    return row_penalty(n, w, transform.l1, transform.l2)


cdef double sum_of_squares(const GradientTransform* transform, Py_ssize_t n, const real* g,
                           const real* w) noexcept nogil:
    """Return Σ g² over n regularized gradients, for clipping by norm."""
    cdef Py_ssize_t j
    cdef double sum = 0
    cdef vreal gi, run = vsplat(0)
    cdef int width
    for j in range(ceil_div(n, VLEN)):
        width = <int>min(n - j * VLEN, <Py_ssize_t>VLEN)
        gi = transformed(transform, load_cols(g + j * VLEN, width), load_cols(w + j * VLEN, width))
        run = run + gi * gi
        end_run(j, &run, &sum)
    return sum + vsum(run)


cdef void update(const OptimizerSettings* o, Py_ssize_t n, double lr, Py_ssize_t iteration, void* w,
                 const void* g, void* slots, Py_ssize_t stride) noexcept nogil:
    """Apply a complete optimizer step to n weights, without regularizers; iteration counts from 0."""
    cdef WarmupProduct product = WarmupProduct(0, 1)
    cdef GradientTransform transform = GradientTransform(0, 0, 1, o.clip_value)
    cdef uint64_t mode = flush_subnormals()
    cdef StepConstants s = step_constants(o, lr, iteration + 1, &product)
    update_step(o, &s, &transform, n, <real*>w, <const real*>g, <real*>slots, stride)
    restore_float_mode(mode)
