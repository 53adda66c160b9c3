"""The vocabulary that core and variants share: ops, model, data, run, the kernel table.

Plain structs of integers and untyped pointers. `void*` stands for the variant's real type
(float or double); places and strides are in elements of it.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t


cdef enum OpKind:
    OP_DENSE
    OP_ACTIVATION
    OP_DROPOUT
    OP_AFFINE
    OP_NOISE
    OP_STANDARDIZE
    OP_BATCH_NORM
    OP_LAYER_NORM
    OP_RESAMPLE
    OP_CONVOLUTION
    OP_DEPTHWISE
    OP_MAX_POOL
    OP_AVERAGE_POOL
    N_OPS

cdef enum Activation:
    ACT_LINEAR
    ACT_RELU
    ACT_TANH
    ACT_SIGMOID
    ACT_SOFTMAX
    ACT_LEAKY_RELU
    ACT_ELU
    ACT_SELU
    ACT_GELU
    ACT_GELU_TANH
    ACT_SILU
    ACT_MISH
    ACT_SOFTPLUS
    ACT_SOFTSIGN
    ACT_HARD_SIGMOID
    ACT_EXPONENTIAL

cdef enum Loss:
    LOSS_MSE
    LOSS_BCE
    LOSS_CCE
    LOSS_BCE_LOGITS
    LOSS_CCE_LOGITS
    LOSS_MAE
    LOSS_HUBER
    LOSS_LOG_COSH
    LOSS_QUANTILE
    LOSS_POISSON
    LOSS_HINGE
    LOSS_POISSON_LOG    # half the Poisson deviance, of the logarithm of the rate
    LOSS_PRODUCT        # Σ y·a over the batch: y is the gradient that the caller wants
    LOSS_PEAK           # the largest output of a row; needs no y
    LOSS_CALL           # a function of the caller's

cdef enum OptimizerKind:
    OPT_SGD
    OPT_ADAM
    OPT_NADAM
    OPT_RMSPROP
    OPT_ADAGRAD
    OPT_LION

cdef enum Constraint:
    CONSTRAINT_NONE
    CONSTRAINT_NON_NEG
    CONSTRAINT_NORM

cdef enum Axis:         # what a norm is taken over
    AXIS_COLUMNS        # each column of an array
    AXIS_ROWS           # each row
    AXIS_ALL

cdef enum Resample:     # where each row and column of the output is in the image that is read
    RESAMPLE_PAD        # `low` further up or left, nothing outside
    RESAMPLE_REPEAT     # a whole number of times in a row
    RESAMPLE_STRETCH    # anywhere between: bilinear
    # What follows is drawn for each image, in training.
    RESAMPLE_FLIP       # in reverse order, by the toss of a coin, where `high` is not 0
    RESAMPLE_SHIFT      # by a part of the size between `low` and `high`; then there is a border
    RESAMPLE_CROP       # from anywhere on; where that cannot be, and in inference, its middle stretched

cdef enum Border:       # what is outside of an image that is shifted
    BORDER_CONSTANT     # `fill`
    BORDER_NEAREST      # the last row or column
    BORDER_REFLECT      # d c b a | a b c d | d c b a
    BORDER_WRAP         # a b c d | a b c d | a b c d

cdef enum Status:
    STATUS_OK
    STATUS_NONFINITE

cdef enum Primitive:
    MATH_EXP
    MATH_LOG
    MATH_LOG1P
    MATH_TANH
    MATH_SIGMOID
    MATH_ERF
    MATH_ERFC

cdef enum InputType:
    INPUT_FLOAT32
    INPUT_FLOAT64
    INPUT_UINT8


# Parameters of one kind: `outer` matrices of rows × cols in the flat range.
ctypedef struct Array:
    int trained         # the optimizer changes them; else they have no gradient
    Py_ssize_t begin
    Py_ssize_t outer, rows, cols
    double l1, l2       # regularizer
    int constraint
    int axis
    double low, high, rate  # of a norm: where it has to be, how much of the way goes a step

# Rows that are images of height × width × channels: how another is made of each. Arrays are
# of height and width.
ctypedef struct Resampling:
    int kind
    Py_ssize_t channels
    Py_ssize_t n_in[2]
    Py_ssize_t n_out[2]
    double low[2]
    double high[2]
    int border
    int smooth          # shifts by parts of a pixel; else they are rounded
    double fill
    int seeded          # its random numbers have a key of their own
    uint64_t seed

# What a convolution or a pooling moves over images of h × w pixels and c channels, channels last.
ctypedef struct Window:
    Py_ssize_t h, w, c              # of an input
    Py_ssize_t out_h, out_w, out_c  # of an output
    Py_ssize_t kernel_h, kernel_w
    Py_ssize_t stride_h, stride_w
    Py_ssize_t dilation_h, dilation_w
    Py_ssize_t top, left            # zeros before the first row and column
    Py_ssize_t groups               # of channels, which do not mix

ctypedef struct Op:
    int kind
    int activation      # applied to the output
    int layer           # key of the op's random stream
    int dx_relu         # dX leaves multiplied by relu'(x): x is the output of a relu
    int dz_ready        # dy already holds dZ, because the next op did just that
    int frozen          # a batch normalization that uses its moving averages in training, too
    Py_ssize_t n_in, n_out
    Py_ssize_t x, y     # slots, in elements per row of the arena
    Py_ssize_t z        # slot of what the activation is applied to; y where it works in place
    Py_ssize_t ld_x, ld_y
    Py_ssize_t dx, dy   # slots of the gradients; dx < 0: nobody needs it
    int w, b            # arrays: kernel and bias, or gamma and beta; < 0: none
    # dropout: alpha = rate; noise: alpha = standard deviation; affine: y = alpha·x + beta;
    # activations: alpha; standardization: beta = 1 inverts it
    double alpha, beta
    double y_l1, y_l2   # regularizer of the output
    # normalizations
    Py_ssize_t channels     # what has a mean and a variance of its own, n_in of them or a divisor
    Py_ssize_t mean, variance   # places in the flat parameters of what is kept, not trained
    Py_ssize_t s, ld_s      # statistics: a place in run.stats, or (layer norm) a slot
    double epsilon, momentum
    Resampling resampling
    Window window

# What core has to know of an op.
ctypedef struct OpNeeds:
    Py_ssize_t scratch  # elements
    double flops        # of a row's forward pass
    int has_window      # its rows are images
    int whole_batch     # it looks at the batch as a whole

ctypedef struct Chain:
    int n_ops
    Op* ops
    Py_ssize_t width    # elements per row of the arena
    Py_ssize_t out      # slot of the prediction

ctypedef struct Update:
    int kind
    int n_slots
    # SGD: momentum, nesterov; Adam: beta_1, beta_2, epsilon, amsgrad; Nadam: the same three;
    # RMSprop: rho, momentum, epsilon, centered; Adagrad: epsilon; Lion: beta_1, beta_2
    double hyper[8]
    double weight_decay
    double clip_value   # 0: none, as for the norms
    double clip_norm    # of each array's gradient
    double global_norm  # of all gradients together
    double ema_momentum  # 0: no moving average; else it is the last slot
    Py_ssize_t ema_period   # steps after which the average replaces the parameters; 0: never

ctypedef struct Objective:
    int kind
    int fused           # the loss works on what stands before the last activation
    const void* levels  # ld_out numbers of the loss, one a column: Huber's delta, quantiles
    double target_scale, target_offset  # label smoothing
    double value_scale, slope_scale     # what values and gradients of rows are multiplied by
    double limit        # of a row's value, for a weight of 1
    int weighted_mean   # losses, penalties too, are divided by Σ weight instead of the rows

ctypedef struct Model:
    Py_ssize_t n_in, n_out
    Py_ssize_t n_params     # those with gradients and slots; after them come all that are never trained
    Py_ssize_t ld_in, ld_out
    double in_scale, in_offset
    Chain train, infer
    Chain sensitivity   # like train, with the gradient down to the input
    int n_arrays
    Array* arrays
    Objective loss
    int regularized     # some array has a regularizer
    int constrained     # some array has a constraint
    int active          # some op has a regularizer of its output
    int batch_norms     # some op takes its statistics from the batch
    Update optimizer
    void* params
    void* grads
    void* slots         # n_slots × slot_stride
    Py_ssize_t slot_stride  # n_params and what is left free behind them
    uint64_t seed

ctypedef struct DataView:
    Py_ssize_t n
    int x_type
    const void* x               # n × n_in, or where there are `starts` the numbers that are not 0
    const int64_t* starts       # n + 1, where each sparse row begins in x and columns; NULL: x is dense
    const int32_t* columns      # of each number in x
    const void* y               # n × n_out, or NULL
    const int32_t* labels       # n class indices, or NULL
    const double* weight        # n, or NULL: ones

# A sum in four strands: its bits do not depend on the pieces in which the numbers come.
ctypedef struct Strands:
    double a, b, c, d

cdef inline double sum_of(const Strands* s) noexcept nogil:
    return (s.a + s.b) + (s.c + s.d)

# Rows in work: a whole batch that the threads share, or what one thread has of it.
ctypedef struct Block:
    Py_ssize_t rows     # that the arena holds, a multiple of 4
    void* arena         # rows × width
    void* y             # rows × ld_out: targets, one-hot for classes
    double* weight      # rows
    double* loss        # rows
    double* activity    # rows: penalties of the outputs

ctypedef struct Run:
    Model* model
    DataView* data
    Chain* chain
    const Objective* objective
    int n_threads
    Block* whole                # all rows of a step, which the threads share; NULL: there are chunks only
    Block* blocks               # one a thread, for chunks; NULL: there are none
    void* scratch               # n_threads × scratch_size
    Py_ssize_t scratch_size
    void* stats                 # means, variances, … of the normalizations; NULL: there are none
    int training                # dropout and noise, statistics of the batch
    # LOSS_CALL: fills in da and value, for rows that are `first` and those that follow in the epoch;
    # a and da have ld_out elements a row
    void (*call)(void* context, Py_ssize_t first, Py_ssize_t rows, const void* a, const double* weight,
                 void* da, double* value) noexcept nogil
    void* context
    uint64_t float_mode         # the caller's
    # training
    Py_ssize_t batch            # rows of a step
    Py_ssize_t row_offset       # number in its epoch of the data's first row
    int32_t* order              # permutation of the epoch's rows, or NULL: their own order
    int order_ready             # it is the present epoch's already
    void* outputs               # n × n_out predictions in the data's own order, or NULL
    const double* lr
    double* losses
    Py_ssize_t n_steps, steps_done
    uint64_t epoch
    Py_ssize_t batch_index
    Py_ssize_t iterations
    double deadline
    int stop
    int status
    # passes over fixed chunks of rows
    Py_ssize_t n_chunks
    Py_ssize_t first_chunk, end_chunk   # those that a call of infer or sensitivity goes through
    void* partials              # n_chunks × n_params; of one chunk model.grads
    Strands* chunk_loss         # n_chunks
    Py_ssize_t* chunk_rows      # n_chunks: rows that calls of gradient have gone through so far
    int losses_too              # not only predictions, in a pass over the inference chain
    double penalty              # of the regularizers, in a pass with targets
    double denominator          # of the rows' losses, in a pass with targets
    double* sums                # one a block of parameters: penalties, then squared norms
    void* sensitivity           # n × n_in gradients of the input, or NULL

# One per variant: everything that core can ask of it.
ctypedef struct Kernels:
    const char* isa
    int isa_is_real
    int real_bytes
    int vector_bytes
    int has_openmp
    double (*now)() noexcept nogil
    int (*thread_limit)() noexcept nogil
    int (*threads_of_team)(int n) noexcept nogil
    int (*end_team)() noexcept nogil
    void (*needs_of)(const Op* op, OpNeeds* needs) noexcept nogil
    void (*train)(Run* run) noexcept nogil
    void (*infer)(Run* run) noexcept nogil
    void (*gradient)(Run* run) noexcept nogil
    void (*sensitivity)(Run* run) noexcept nogil
    Py_ssize_t (*dense_scratch)(Py_ssize_t k, Py_ssize_t n) noexcept nogil   # elements of it
    void (*dense_forward)(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, const void* x, Py_ssize_t ldx,
                          const void* w, const void* b, void* y, Py_ssize_t ldy,
                          int activation, double alpha, void* scratch) noexcept nogil
    void (*dense_backward)(Py_ssize_t m, Py_ssize_t k, Py_ssize_t n, const void* x, Py_ssize_t ldx,
                           const void* w, const void* dz, Py_ssize_t ldz, void* dx, Py_ssize_t lddx,
                           void* dw, void* db, void* scratch) noexcept nogil
    void (*activation_forward)(int activation, double alpha, Py_ssize_t m, Py_ssize_t n,
                               const void* z, void* y, Py_ssize_t ld) noexcept nogil
    void (*activation_backward)(int activation, double alpha, Py_ssize_t m, Py_ssize_t n,
                                const void* z, const void* y, const void* dy, void* dz,
                                Py_ssize_t ld) noexcept nogil
    void (*loss)(const Objective* o, Py_ssize_t m, Py_ssize_t n, const void* a, const void* y, Py_ssize_t ld,
                 const double* weight, double scale, void* da, double* value,
                 void* scratch) noexcept nogil
    void (*update)(const Update* optimizer, Py_ssize_t n, double lr, Py_ssize_t iteration,
                   void* params, const void* grads, void* slots, Py_ssize_t stride) noexcept nogil
    void (*primitive)(int which, Py_ssize_t n, const void* x, void* y) noexcept nogil
