"""The structs that core and variants share: ops, model, data, run, the kernel table.

Plain structs of integers and untyped pointers. `void*` stands for the variant's real type
(float or double); places and strides are in elements of it.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t


# Parameters of one kind: `outer` matrices of rows × cols in the flat range.
ctypedef struct Parameter:
    int trained         # the optimizer changes them; else they have no gradient
    Py_ssize_t begin
    Py_ssize_t outer, rows, cols
    double l1, l2       # regularizer
    int constraint
    int axis
    double low, high, rate  # of a norm: where it has to be, how much of the way goes a step

# Where the rows and columns of an image come from in another one. Pairs are of height and width.
ctypedef struct Resampling:
    int64_t kind
    int64_t n_in[2]
    int64_t n_out[2]
    int64_t channels
    double low[2]
    double high[2]
    int64_t border
    int64_t smooth      # shifts by fractions of a pixel; else they are rounded
    double fill
    int64_t seeded      # its random numbers have their own key
    uint64_t seed

# What a convolution or a pooling moves over images of h × w pixels and c channels, channels last.
ctypedef struct Window:
    int64_t h, w, c                 # of an input
    int64_t out_h, out_w, out_c     # of an output
    int64_t kernel_h, kernel_w
    int64_t stride_h, stride_w
    int64_t dilation_h, dilation_w
    int64_t top, left               # zeros before the first row and column
    int64_t groups                  # of channels, which do not mix

cdef enum:
    N_SETTINGS = 16     # numbers of 8 bytes that the settings of an op may have

ctypedef struct Op:
    int kind            # row of the ops table
    int activation      # applied to the pre-activation z
    double alpha        # of the activation
    int layer           # key of the op's random stream
    int applies_relu_backward   # its dX is multiplied by the derivative of the ReLU that made its input
    int relu_backward_done      # dy already holds dZ, because the next op multiplied it
    int frozen          # its layer is not trained: moving averages are used in training, too
    Py_ssize_t n_in, n_out
    Py_ssize_t x, y     # offsets of tensors, in elements per row of the arena
    Py_ssize_t z        # offset of the pre-activation; y if the activation works in place
    Py_ssize_t ld_x, ld_y
    Py_ssize_t dx, dy   # offsets of the gradients; dx < 0 if it is not needed
    int w, b            # parameters: kernel and bias, or gamma and beta; < 0 if it has none
    Py_ssize_t mean, variance   # offsets of fixed statistics and moving averages in the flat weights
    double y_l1, y_l2   # regularizer of the output
    Py_ssize_t channels     # of a normalization: each has a mean and a variance; n_in or a divisor of it
    Py_ssize_t stats, ld_stats  # its statistics: an offset in run.stats, or of a tensor
    int64_t settings[N_SETTINGS]    # a struct of 8-byte fields, which the op's file in ops/ declares

# What fusion and the plan ask of an op.
ctypedef struct OpTraits:
    bint applies_activation  # to what it computes, so that fusion folds an activation into it
    bint is_activation       # it only applies an activation, and is folded into the op before
    bint training_only       # it is the identity in inference
    bint fuses_relu_backward     # it can gemm dX by the derivative of a ReLU
    bint copies_images       # into a border of zeros
    bint repeats_channels    # its copy has a channel for each channel of the output
    int numbers_per_line    # that it keeps for each row and column of an output image
    int channel_statistics  # numbers that a run keeps for each channel
    int feature_statistics  # numbers that a run keeps for each input feature
    int sample_statistics   # numbers that it keeps for each group of channels of a sample

# What core has to know of an op.
ctypedef struct OpNeeds:
    Py_ssize_t scratch  # elements
    double flops        # of a row's forward pass
    int has_window      # its rows are images
    int whole_batch     # it looks at the batch as a whole

ctypedef struct OpList:
    int n_ops
    Op* ops
    Py_ssize_t width    # elements per row of the arena
    Py_ssize_t out      # slot of the prediction

ctypedef struct OptimizerSettings:
    int kind
    int n_slots
    double rule[8]      # settings of the rule: a struct that kernels/optimizers.pxi declares
    double weight_decay
    double clip_value   # 0: none, as for the norms
    double clip_norm    # of each array's gradient
    double global_norm  # of all gradients together
    double ema_momentum  # 0: no moving average; else it is the last slot
    Py_ssize_t ema_period   # steps after which the average replaces the parameters; 0: never

ctypedef struct Objective:
    int kind
    int fused           # the loss works on what stands before the last activation
    const void* parameters  # ld_out numbers of the loss, one a column: Huber's delta, quantiles
    double target_scale, target_offset  # label smoothing
    double value_scale, gradient_scale     # what values and gradients of rows are multiplied by
    double limit        # of a row's value, for a weight of 1
    int weighted_mean   # losses, penalties too, are divided by Σ weight instead of the rows

ctypedef struct Model:
    Py_ssize_t n_in, n_out
    Py_ssize_t n_params     # those with gradients and slots; after them come all that are never trained
    Py_ssize_t ld_in, ld_out
    double in_scale, in_offset
    OpList train, infer
    OpList input_gradient   # like train, with the gradient down to the input
    int n_parameters
    Parameter* parameters
    Objective loss
    int regularized     # some array has a regularizer
    int constrained     # some array has a constraint
    int active          # some op has a regularizer of its output
    int batch_norms     # some op takes its statistics from the batch
    OptimizerSettings optimizer
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
ctypedef struct Accumulators:
    double a, b, c, d

cdef inline double sum_of(const Accumulators* s) noexcept nogil:
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
    OpList* op_list
    const Objective* objective
    int n_threads
    Block* whole                # all rows of a step, which the threads share; NULL: there are micro-batches only
    Block* blocks               # one a thread, for micro-batches; NULL: there are none
    void* scratch               # n_threads × scratch_size
    Py_ssize_t scratch_size
    void* stats                 # means, variances, … of the normalizations; NULL: there are none
    int training                # dropout and noise, statistics of the batch
    # LOSS_PYTHON: fills in da and value, for rows that are `first` and those that follow in the epoch;
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
    # passes over fixed micro-batches of rows
    Py_ssize_t n_microbatches
    Py_ssize_t first_microbatch, end_microbatch   # those that a call of infer or input_gradient goes through
    void* partials              # n_microbatches × n_params; of one micro-batch model.grads
    Accumulators* microbatch_loss         # n_microbatches
    Py_ssize_t* microbatch_rows      # n_microbatches: rows that calls of gradient have gone through so far
    int wants_losses              # not only predictions, in a pass over the inference op_list
    double penalty              # of the regularizers, in a pass with targets
    double denominator          # of the rows' losses, in a pass with targets
    double* sums                # one a block of parameters: penalties, then squared norms
    void* input_gradient           # n × n_in gradients of the input, or NULL

# Rows of `cols` elements of the variant's type, `ld` apart.
ctypedef struct UntypedMatrix:
    void* data
    Py_ssize_t rows, cols, ld

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
    int n_ops
    const char* (*op_name)(int kind) noexcept nogil
    OpTraits (*op_traits)(int kind) noexcept nogil
    int (*needs_preactivation)(int activation) noexcept nogil
    int (*rule_slots)(const OptimizerSettings* optimizer) noexcept nogil
    void (*needs_of)(const Op* op, OpNeeds* needs) noexcept nogil
    void (*train)(Run* run) noexcept nogil
    void (*infer)(Run* run) noexcept nogil
    void (*gradient)(Run* run) noexcept nogil
    void (*input_gradient)(Run* run) noexcept nogil
    Py_ssize_t (*dense_scratch)(Py_ssize_t k, Py_ssize_t n) noexcept nogil   # elements of it
    void (*dense_forward)(UntypedMatrix x, const void* w, const void* b, UntypedMatrix y, int activation,
                          double alpha, void* scratch) noexcept nogil
    void (*dense_backward)(UntypedMatrix x, const void* w, UntypedMatrix dz, UntypedMatrix dx, void* dw,
                           void* db, void* scratch) noexcept nogil
    void (*activation_forward)(int activation, double alpha, const void* z, UntypedMatrix y) noexcept nogil
    void (*activation_backward)(int activation, double alpha, const void* z, const void* y, const void* dy,
                                UntypedMatrix dz) noexcept nogil
    void (*loss)(const Objective* o, UntypedMatrix a, const void* y, const double* weight, double scale,
                 void* da, double* value, void* scratch) noexcept nogil
    void (*update)(const OptimizerSettings* optimizer, Py_ssize_t n, double lr, Py_ssize_t iteration,
                   void* params, const void* grads, void* slots, Py_ssize_t stride) noexcept nogil
    void (*primitive)(int which, Py_ssize_t n, const void* x, void* y) noexcept nogil
