"""The structs that core and variants share: ops, model, data, run, the kernel table.

Plain structs of integers and untyped pointers. `void*` stands for the variant's real type
(float or double); offsets and strides are in elements of it.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t, uintptr_t


# One array of weights: `outer` contiguous matrices of rows × cols. Other models may use the same array.
ctypedef struct Parameter:
    uintptr_t data      # its address: an integer, because Cython fills in the struct from a dict
    int trained         # whether the optimizer changes it; if not, it has no gradient
    int sparse          # number of its sparse gradient; < 0: its gradient is dense
    Py_ssize_t begin    # offset of its gradient and its slots, if it has any
    Py_ssize_t outer, rows, cols
    double l1, l2       # regularizer
    int constraint
    int axis
    double low, high, rate  # allowed range of the norm; fraction of the correction applied per step

# How an image is resampled from another one. Pairs are (height, width).
ctypedef struct Resampling:
    int64_t kind
    int64_t n_in[2]
    int64_t n_out[2]
    int64_t channels
    double low[2]
    double high[2]
    int64_t border
    int64_t smooth      # whether pixels are interpolated; if not, the nearest one is taken
    double fill
    int64_t joint       # whether both axes have the same random number
    int64_t seeded      # whether `seed` is the key of its random stream; if not, the model's seed is
    uint64_t seed

# A random change of the contrast or of the brightness of images.
ctypedef struct IntensitySettings:
    int64_t contrast    # whether the drawn number is the contrast's factor; if not, it is added to all pixels
    int64_t width, channels
    double low, high    # limits of the drawn number
    double minimum, maximum     # of the pixels, which are clipped
    int64_t seeded
    uint64_t seed

# The window of a convolution or a pooling over images of h × w pixels and c channels, channels last.
ctypedef struct Window:
    int64_t h, w, c                 # input image
    int64_t out_h, out_w, out_c     # output image
    int64_t kernel_h, kernel_w
    int64_t stride_h, stride_w
    int64_t dilation_h, dilation_w
    int64_t top, left               # padding before the first row and column
    int64_t groups                  # number of independent groups of channels

# The steps of a recurrent layer. A sample of x is `steps` rows of features.
ctypedef struct Recurrence:
    int64_t cell
    int64_t steps, features, units
    int64_t activation, recurrent_activation
    double alpha, recurrent_alpha   # parameters of the activations
    int64_t keeps_z         # whether derivatives need the pre-activations of the gates
    int64_t sequences       # whether y consists of the outputs of all steps, not only of the last one
    int64_t backwards       # whether the last step of x comes first
    int64_t ld_inputs, ld_gates, ld_units   # strides of the rows of [h x], of the gates, and of states
    int64_t n_initial       # number of initial states that x2 has, before the mask
    int64_t masked          # whether x2 has a mask
    int64_t zero_masked     # whether y is 0 in masked steps; if not, it is that of the step before
    int64_t returns_states  # whether the final states follow in y
    int64_t reverses_y      # whether the first y is at the place of the last step
    int64_t y_stride        # distance between the steps of y
    double rate, recurrent_rate     # of the dropout of x and of h, one mask for all steps
    int64_t seeded
    uint64_t seed

cdef enum:
    N_SETTINGS = 24     # maximum number of 8-byte fields in an op's settings

ctypedef struct Op:
    int kind            # row of the ops table
    int activation      # applied to the pre-activation z
    double alpha        # the activation's parameter
    int node            # key of the op's random stream
    int applies_relu_backward   # the op multiplies dX by the derivative of the ReLU that produced its input
    int relu_backward_done      # dy already holds dZ, because the next op applied the ReLU's derivative
    int frozen          # its layer is not trained, so even training uses the moving averages
    int head            # the output that it writes and that no other op reads; < 0: none
    int early           # masks of outputs depend on it; it is computed before the others, too
    int adds_parameters  # its parameters' gradients are added to those of an earlier op
    Py_ssize_t steps    # rows per sample; the sizes and strides below are those of one row
    Py_ssize_t n_in, n_in2, n_out
    Py_ssize_t x, x2, y  # offsets of tensors, in elements per row of the arena; x2 < 0: it has one input
    Py_ssize_t z        # offset of the pre-activation; y if the activation works in place
    Py_ssize_t ld_x, ld_x2, ld_y
    Py_ssize_t x_column, x2_column, y_column    # first columns, if the tensors are parts of concatenations
    Py_ssize_t dx, dx2  # offsets of the inputs' gradients; < 0 if the op does not write them
    Py_ssize_t dx_base, dx2_base    # offsets of gradients that are added to them; < 0: none
    Py_ssize_t dy       # offset of dZ; < 0: the op has no backward pass
    Py_ssize_t dy_source    # offset of dY; dy if dZ may overwrite it
    int w, b            # indices of its parameters: kernel and bias, or gamma and beta; < 0: none
    int recurrent       # index of its recurrent kernel; < 0: none
    uintptr_t constant  # address of its second input, if that is one row for all samples; 0: it is not
    int mean, variance  # indices of its fixed statistics or moving averages; < 0: none
    double y_l1, y_l2   # activity regularizer
    Py_ssize_t channels     # channel count of a normalization, one mean and variance each; divides n_in
    Py_ssize_t stats, ld_stats  # offset of its statistics: in run.stats or, if per sample, in the arena
    int64_t settings[N_SETTINGS]    # a struct of 8-byte fields, which the op's file in ops/ declares

# The properties of an op that fusion and the plan use.
ctypedef struct OpTraits:
    bint applies_activation     # it can apply an activation to its result, so fusion can fold one into it
    bint is_activation          # it only applies an activation, and can be folded into the previous op
    bint training_only          # it is the identity in inference
    bint elementwise            # an element of y depends on those at the same position of x and x2 alone
    bint last_axis              # it works on the last axis, so a sample may have several rows
    bint fuses_relu_backward    # it can multiply dX by the derivative of a ReLU
    bint passes_gradient        # the gradient of its output is that of its first input, too
    bint stops_gradient         # its output is a mask, which has no gradient
    bint splits_k               # it can be computed by split-K; forward passes then use the memory of dY
    bint works_in_place         # y may overwrite x or x2 and, if there is no x2, dX may overwrite dZ
    bint reads_x2               # its gradients depend on x2 even if it ignores x
    bint ignores_x, ignores_y   # its gradients do not depend on x and x2, or on z
    bint copies_images          # it makes copies of images that are padded with zeros
    bint repeats_channels       # that copy has one channel per output channel
    int numbers_per_line        # elements kept for each row and column of an output image
    int channel_statistics      # elements that a run keeps per channel
    int feature_statistics      # elements that a run keeps per input feature
    int sample_statistics       # elements kept per sample for each group of channels
    int sample_channel_statistics   # elements kept per sample for each channel
    bint keeps_steps            # in training, it keeps `ld_stats` elements per sample

# What core needs to know about an op.
ctypedef struct OpNeeds:
    Py_ssize_t scratch  # in elements
    double flops        # floating-point operations in one row's forward pass
    int has_window      # it moves a window over images
    int has_steps       # it goes through the steps of sequences, one after the other
    Py_ssize_t ids      # ids per sample, if it reads the rows of its weights that these name
    int whole_batch     # it needs the whole batch at once
    int adds_penalty    # it adds a penalty to the loss

ctypedef struct OpList:
    int n_ops
    Op* ops
    Py_ssize_t width    # elements per row of the arena
    Py_ssize_t n_values  # elements per row of all tensors and gradients, also of those that share memory
    const Py_ssize_t* x     # offset of each input
    const Py_ssize_t* ld_x      # stride of the rows of each input
    const Py_ssize_t* x_column  # first column of each input, if it is a part of a concatenation
    const Py_ssize_t* dx    # offset of the gradient of each input; < 0: it is not computed
    const Py_ssize_t* out   # offset of each output
    const Py_ssize_t* dy    # offset of the gradient that the loss of each output writes; < 0: inference
    const Py_ssize_t* mask  # offset of each output's mask; < 0: it has none
    const Py_ssize_t* ld_mask
    int single_reader   # there is one input, which the first op alone reads
    int shares_parameters   # several ops have the same parameter

ctypedef struct OptimizerSettings:
    int kind
    int n_slots
    double rule[8]      # the rule's settings, a struct declared in kernels/optimizers.pxi
    double weight_decay
    double clip_value   # 0: no clipping, as in the next two fields
    double clip_norm    # limit for the norm of each array's gradient
    double global_norm  # limit for the norm of all gradients together
    double ema_momentum  # 0: no moving average; otherwise the last slot holds it
    Py_ssize_t ema_period   # steps after which the average replaces the parameters; 0: never

cdef enum:
    N_LOSS_PARAMETERS = 3   # maximum number of parameters that a loss has per output

ctypedef struct Objective:
    int kind
    int fused           # the loss takes the last op's pre-activations
    const void* parameters  # N_LOSS_PARAMETERS rows of parameters, one per output: Huber's delta, quantiles
    Py_ssize_t parameter_stride
    double target_scale, target_offset  # the loss sees target_scale·y + target_offset (label smoothing)
    double value_scale, gradient_scale     # factors applied to each row's loss and gradient
    double limit        # upper limit for the loss of a row of weight 1
    int reduction       # of the losses of a batch
    int weighted_mean   # divide losses by Σ weight, not by the number of rows; also divide penalties by it

# One input of a model.
ctypedef struct Input:
    Py_ssize_t n            # elements of a sample
    double scale, offset    # the engine computes scale·x + offset while it reads x

# One output of a model, with its loss.
ctypedef struct Head:
    Py_ssize_t steps        # rows per sample
    Py_ssize_t n, ld        # elements of a row, and the stride of rows in the arena
    Py_ssize_t y            # offset of its targets, in elements per row of a block's targets
    Py_ssize_t mask_steps   # steps of its mask; 0: it has none
    Objective loss
    double loss_weight      # factor of its loss in the total loss

cdef enum:
    MAX_HEADS = 128

ctypedef struct Model:
    int n_inputs, n_heads
    const Input* inputs
    const Head* heads
    Py_ssize_t n_params     # number of weights with gradients and slots
    Py_ssize_t n_dense      # number of those whose gradients are dense; they come first
    int n_sparse            # number of arrays with sparse gradients
    Py_ssize_t target_width     # elements per row of all targets together
    OpList train, infer
    OpList input_gradient   # like train, with a backward pass down to the input
    int n_parameters
    Parameter* parameters
    int regularized     # some array has a regularizer
    int constrained     # some array has a constraint
    int active          # some op has an activity regularizer or adds a penalty
    int masked          # some output has a mask
    int batch_norms     # some op computes statistics of the batch
    OptimizerSettings optimizer
    void* grads
    void* slots         # n_slots × slot_stride
    Py_ssize_t slot_stride  # n_params plus padding
    uint64_t seed

# The gradient of an array of which a batch reads only some rows, which ids name. Each micro-batch has a
# segment with the gradients of the rows that it reads, from position 1 on, in the order in which it first
# reads them. In a batch that threads share, it has a segment per thread, each for its range of the array.
# If a batch is not divided and reads most rows, `sums` has a row for each row of the array instead.
ctypedef struct SparseGradient:
    int parameter
    Py_ssize_t n, cols      # the array's rows and columns
    Py_ssize_t ld           # stride of the rows of sums
    Py_ssize_t capacity     # positions of a segment
    int32_t* rows           # n_segments × capacity: 1 + the row of the array at each position; 0: none
    Py_ssize_t* last        # n_segments: the last position with a row
    int32_t* place          # n_microbatches × n: the position of each row of the array, if `rows` confirms it
    void* sums              # n_segments × capacity × ld; the sum at position 0 is 0
    bint by_row             # sums is n × cols, and 0 between updates; the lists are not used
    int32_t* merged         # n: position in all segments of the total of each row; 0 between updates

# The rows of one input.
ctypedef struct InputView:
    int x_type
    const void* x               # n rows; for sparse rows, the stored values
    const int64_t* starts       # n + 1 offsets of sparse rows in x and columns; NULL: x is dense
    const int32_t* columns      # column of each stored value

# The targets of one output.
ctypedef struct TargetView:
    const void* y               # n rows, or NULL
    const int32_t* labels       # n class indices, or NULL
    const double* weight        # n × weight_steps sample weights; NULL: all are 1
    Py_ssize_t weight_steps     # 1, or the number of steps of a sample, which each have a weight

ctypedef struct DataView:
    Py_ssize_t n
    const InputView* inputs     # one per input
    const TargetView* targets   # one per output

# A sum in four accumulators. It is bit-identical no matter how the terms are divided among calls.
ctypedef struct Accumulators:
    double a, b, c, d

cdef inline double sum_of(const Accumulators* s) noexcept nogil:
    return (s.a + s.b) + (s.c + s.d)

# The arena and per-row arrays of a block: one thread's rows, or a whole batch that threads share.
ctypedef struct Block:
    Py_ssize_t rows     # capacity, a multiple of 4
    void* arena         # rows × width
    void* y             # rows × target_width: the targets of one output after the other, one-hot for classes
    double* weight      # n_heads × rows
    double* loss        # n_losses × rows: the total and, if there are several outputs, that of each
    double* activity    # rows: activity penalties

ctypedef struct Run:
    Model* model
    DataView* data
    OpList* op_list
    const Objective* objective  # used in place of every output's loss, or NULL
    int n_losses                # 1, or one more than outputs if there are several
    int n_threads
    Block* whole                # a batch that threads share; NULL: each thread has its own micro-batches
    Block* blocks               # one per thread, for micro-batches; NULL: threads only share whole batches
    void* scratch               # n_threads × scratch_size
    Py_ssize_t scratch_size
    void* stats                 # statistics of the normalizations; NULL: there are none
    int training                # whether dropout, noise and batch statistics are on
    # For LOSS_PYTHON: computes the losses `value` and the gradient `da` of one output from the predictions
    # `a` and the mask, if it has one, of `rows` rows, which begin at position `first` of the epoch. Rows of
    # `a` and `da` are `ld` apart.
    void (*call)(void* context, int head, Py_ssize_t first, Py_ssize_t rows, const void* a,
                 const void* mask, void* da, double* value) noexcept nogil
    void* context
    uint64_t float_mode         # floating-point mode to restore while Python runs
    # training
    Py_ssize_t batch            # rows per step
    Py_ssize_t row_offset       # index of the data's first row in its epoch
    int32_t* order              # permutation of the epoch's rows; NULL: not shuffled
    int order_ready             # whether `order` is already the one for the current epoch
    void** outputs              # the predictions of each output, then their masks, in the data's own order,
    # or NULL; the entry of a mask may be NULL, too
    const double* lr
    double* losses              # n_steps × n_losses
    Py_ssize_t n_steps, steps_done
    uint64_t epoch
    Py_ssize_t batch_index
    Py_ssize_t iterations
    double deadline
    int stop
    int status
    # single passes over all rows, in micro-batches
    Py_ssize_t n_microbatches
    Py_ssize_t first_microbatch, end_microbatch   # range processed by one call of `infer` or `input_gradient`
    void* partials              # n_microbatches × n_dense; model.grads if there is only one
    SparseGradient* sparse      # n_sparse
    int n_shares                # segments of a sparse gradient per micro-batch
    Accumulators* microbatch_loss         # n_microbatches × n_losses
    Py_ssize_t* microbatch_rows      # n_microbatches: rows that `gradient` has processed so far
    int wants_losses              # whether `infer` also computes losses
    double penalty              # the regularizers' penalty, in a pass that computes losses
    double denominator          # divisor of the losses, in a pass that computes losses
    double* reductions          # factor of each output's losses, in such a pass
    int masks_counted           # `reductions` take account of the outputs' masks
    double* sums                # one per block of parameters: first penalties, later sums of squares
    void** input_gradients      # the results of `input_gradient`, one per input, or NULL

cdef inline const Objective* objective_of(const Run* run, int head) noexcept nogil:
    """Return the loss of an output."""
    return &run.model.heads[head].loss if run.objective == NULL else run.objective

# A matrix of the variant's type, with leading dimension `ld`.
ctypedef struct UntypedMatrix:
    void* data
    Py_ssize_t rows, cols, ld

# The interface of a variant: all functions that core can call.
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
    Py_ssize_t (*dense_scratch)(Py_ssize_t k, Py_ssize_t n) noexcept nogil   # in elements
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
    int (*all_finite)(Py_ssize_t n, const void* x) noexcept nogil
    void (*primitive)(int which, Py_ssize_t n, const void* x, void* y) noexcept nogil
