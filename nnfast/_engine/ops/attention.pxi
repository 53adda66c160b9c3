"""The attention op: softmax(scale·Q·Kᵀ)·V in each sample. Samples are rows with all queries, or all keys."""

cdef inline const AttentionSettings* attention_settings(const Op* op) noexcept nogil:
    return <const AttentionSettings*>settings_of(op)


cdef inline real* take_piece(real** free, Py_ssize_t n) noexcept nogil:
    """Return a piece of the scratch, and move `free` past it."""
    cdef real* piece = free[0]
    free[0] = piece + whole_vectors(n)
    return piece


cdef Py_ssize_t divide_scratch(const Op* op, real* scratch, AttentionScratch* w) noexcept nogil:
    """Set the addresses of the pieces of the scratch; return their total size."""
    cdef const AttentionSettings* s = attention_settings(op)
    cdef Py_ssize_t panels = ceil_div(s.keys, PANEL), ld = whole_vectors(s.keys), widest, queries
    cdef real* free = scratch
    queries = padded_queries(s)
    widest = whole_vectors(max(s.key_dim, s.value_dim))
    w.queries = take_piece(&free, queries * widest)
    w.dy = take_piece(&free, queries * widest)
    w.k_panels = take_piece(&free, max(panels * transposed_panel_size(s.key_dim),
                                       ceil_div(s.key_dim, PANEL) * PANEL * s.keys))
    w.v_panels = take_piece(&free, max(panels * transposed_panel_size(s.value_dim),
                                       ceil_div(s.value_dim, PANEL) * PANEL * s.keys))
    w.scores = take_piece(&free, QUERY_ROWS * ld)
    w.product = take_piece(&free, QUERY_ROWS * widest)
    w.dropped = take_piece(&free, (min(queries, <Py_ssize_t>DROPPED_ROWS) if s.rate > 0 else 0) * ld)
    w.real_keys = take_piece(&free, ld)
    w.allowed = take_piece(&free, ld)
    return free - scratch


cdef inline real* row_if_any(const Matrix* a, Py_ssize_t r) noexcept nogil:
    return NULL if a.data == NULL else a.data + r * a.ld


cdef AttentionData attention_sample(const Shard* shard, const Op* op, Py_ssize_t r) noexcept nogil:
    """Return what the samples of the shard have in common, and the probabilities of sample r."""
    cdef const AttentionSettings* s = attention_settings(op)
    cdef AttentionData d
    d.x = d.x2 = d.y = NULL
    d.constant = <const real*>op.constant
    d.p = address(shard.block, op.stats, shard.begin + r, op.ld_stats) if op.stats >= 0 else NULL
    d.drops = shard.run.training and not op.frozen and s.rate > 0
    d.key = random_key(shard.run, op, s.seeded, s.seed)
    d.row = (epoch_row(shard, op) + r) * s.heads * s.queries
    return d


cdef inline Matrix keys_of(const Shard* shard, const Op* op) noexcept nogil:
    """Return x2 even if there is a constant: its rows are those of the samples."""
    return op_rows(shard.block, op, op.x2, op.x2_column, shard.begin, n_rows(shard), op.n_in2, op.ld_x2)


cdef int forward_attention(const Shard* shard, const Op* op, const Matrix* x, int activation) noexcept nogil:
    cdef Matrix x2 = keys_of(shard, op), y = output_of(shard, op)
    cdef AttentionScratch w
    cdef AttentionData d
    cdef Py_ssize_t r
    divide_scratch(op, shard.scratch, &w)
    for r in range(n_rows(shard)):
        d = attention_sample(shard, op, r)
        d.x, d.x2, d.y = x.data + r * x.ld, x2.data + r * x2.ld, y.data + r * y.ld
        attention_forward(attention_settings(op), &d, &w)
    return activation


cdef void backward_attention(const Shard* shard, const Op* op) noexcept nogil:
    """Compute dX and dX2 if they are needed."""
    cdef Matrix x = input_of(shard, op), x2 = keys_of(shard, op), dy = output_gradient(shard, op)
    cdef Matrix dx = input_gradient(shard, op), dx2 = second_gradient(shard, op)
    cdef AttentionScratch w
    cdef AttentionData d, g
    cdef Py_ssize_t r
    if op.dx < 0:
        dx.data = NULL
    if op.dx2 < 0:
        dx2.data = NULL
    divide_scratch(op, shard.scratch, &w)
    for r in range(n_rows(shard)):
        d = g = attention_sample(shard, op, r)
        d.x, d.x2, d.y = x.data + r * x.ld, x2.data + r * x2.ld, NULL
        g.x, g.x2, g.y = row_if_any(&dx, r), row_if_any(&dx2, r), dy.data + r * dy.ld
        attention_backward(attention_settings(op), &d, &g, &w)


cdef Py_ssize_t scratch_attention(const Op* op) noexcept nogil:
    cdef AttentionScratch w
    return divide_scratch(op, NULL, &w)


cdef double flops_attention(const Op* op) noexcept nogil:
    cdef const AttentionSettings* s = attention_settings(op)
    return 2.0 * s.heads * s.queries * s.keys * (s.key_dim + s.value_dim)
