"""The engine's enums, from which `core` derives its tables of names.

They have no names, because a named one would become a class of Python's enum module, which costs a
fifth of a millisecond each when nnfast is imported. Ops have no enum: an op's number is its row in
ops/table.pxi.
"""

cpdef enum:
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
    ACT_RELU6
    ACT_HARD_TANH
    ACT_HARD_SILU
    ACT_LOG_SIGMOID
    ACT_TANH_SHRINK
    ACT_SOFT_SHRINK
    ACT_HARD_SHRINK
    ACT_CELU
    ACT_SQUAREPLUS
    ACT_SPARSE_PLUS
    ACT_SPARSE_SIGMOID

cpdef enum:
    LOSS_MEAN_SQUARED_ERROR
    LOSS_BINARY_CROSSENTROPY
    LOSS_CATEGORICAL_CROSSENTROPY
    LOSS_BINARY_CROSSENTROPY_LOGITS
    LOSS_CATEGORICAL_CROSSENTROPY_LOGITS
    LOSS_MEAN_ABSOLUTE_ERROR
    LOSS_HUBER
    LOSS_LOG_COSH
    LOSS_QUANTILE
    LOSS_POISSON
    LOSS_HINGE
    LOSS_MEAN_ABSOLUTE_PERCENTAGE_ERROR
    LOSS_MEAN_SQUARED_LOGARITHMIC_ERROR
    LOSS_SQUARED_HINGE
    LOSS_CATEGORICAL_HINGE
    LOSS_KL_DIVERGENCE      # divided by the number of outputs
    LOSS_COSINE_SIMILARITY
    LOSS_BINARY_FOCAL_CROSSENTROPY
    LOSS_BINARY_FOCAL_CROSSENTROPY_LOGITS
    LOSS_CATEGORICAL_FOCAL_CROSSENTROPY
    LOSS_CATEGORICAL_FOCAL_CROSSENTROPY_LOGITS
    LOSS_POISSON_LOG        # half the Poisson deviance; the output is the logarithm of the mean
    LOSS_SUPPLIED_GRADIENT  # Σ y·a over the batch: y is the gradient that the user supplies
    LOSS_MAXIMUM_OUTPUT     # the largest output of a row; needs no y
    LOSS_PYTHON             # a Python function

cpdef enum:  # of the losses of a batch; penalties are not affected
    REDUCTION_MEAN          # Σ weight·loss / rows
    REDUCTION_SUM           # Σ weight·loss
    REDUCTION_WEIGHTED_MEAN     # Σ weight·loss / Σ weight

cpdef enum:
    OPT_SGD
    OPT_ADAM
    OPT_NADAM
    OPT_RMSPROP
    OPT_ADAGRAD
    OPT_LION
    OPT_ADADELTA
    OPT_ADAMAX

cpdef enum:
    CONSTRAINT_NONE
    CONSTRAINT_NON_NEG
    CONSTRAINT_NORM

cpdef enum:  # the elements that share a norm
    AXIS_COLUMNS            # each column of a matrix
    AXIS_ROWS               # each row
    AXIS_ALL                # the whole matrix

cpdef enum:  # where each row and column of an output image comes from
    RESAMPLE_STRETCH        # positions `low` to `high`, which may be outside, stretched over the output
    # The following draw random numbers for each image, in training only.
    RESAMPLE_FLIP           # reversed with probability ½, along the axes whose `high` is not 0
    RESAMPLE_SHIFT          # shifted by a fraction of the size between `low` and `high`
    RESAMPLE_CROP           # a random crop; in inference, and if the image is too small, stretched as above
    RESAMPLE_ZOOM           # made smaller about its centre, 1 + a number between `low` and `high` times
    RESAMPLE_ROTATE         # turned about its centre by 2π times a number between the first `low` and `high`

cpdef enum:  # the values outside the bounds of an image
    BORDER_CONSTANT         # `fill`
    BORDER_NEAREST          # the last row or column
    BORDER_REFLECT          # d c b a | a b c d | d c b a
    BORDER_WRAP             # a b c d | a b c d | a b c d

cpdef enum:  # the cells of recurrent layers
    CELL_LSTM
    CELL_GRU
    CELL_GRU_RESET_BEFORE   # the reset gate is applied to h before its product
    CELL_SIMPLE

cpdef enum:
    STATUS_OK
    STATUS_NONFINITE

cpdef enum:
    MATH_EXP
    MATH_LOG
    MATH_LOG1P
    MATH_TANH
    MATH_SIGMOID
    MATH_ERF
    MATH_ERFC

cpdef enum:
    INPUT_FLOAT32
    INPUT_FLOAT64
    INPUT_UINT8
    INPUT_INT8
    INPUT_UINT16
    INPUT_INT16
    INPUT_UINT32
    INPUT_INT32
    INPUT_UINT64
    INPUT_INT64
