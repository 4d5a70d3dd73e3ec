// Attention of a few queries that share one key/value head, over the blocks of one row. Included by each path.

namespace {

// Memory is asked for a little early: the values of a tile while its keys are read, the keys of the next tiles, and,
// while values are read, the keys of the next head, which lie behind them. It comes to the second level only: lines on their
// way to the first one are few, and bound what can be asked for.
inline void prefetch_far(const uint8_t* p) { __builtin_prefetch(p, 0, 2); }

inline const uint8_t* keys_of(const Attention& a, int tile) { return a.cache + size_t(a.table[tile]) * a.block_bytes; }

// 32 bits of sixteen lanes: a float, or two bfloat16.
template <Format F>
inline Words cached(const uint8_t* p) {
    return F == Format::int8 ? words_of_bytes(p) : load_words(p);
}

template <int Q, int T, Format F>
__attribute__((noinline)) void score(const Attention& a, int tile, int tiles, int stride) {
    Floats sum[Q][T];
    const uint8_t *keys[T], *next[T];
    for (int t = 0; t < T; ++t) {
        keys[t] = keys_of(a, tile + t);
        next[t] = tile + T + t < tiles ? keys_of(a, tile + T + t) : keys[t];
    }
    for (int q = 0; q < Q; ++q)
        for (int t = 0; t < T; ++t) sum[q][t] = all(0);
    constexpr bool kHalf = F != Format::float32;
    constexpr int kBytes = F == Format::int8 ? 32 : 64;
    const int steps = kHalf ? a.width / 2 : a.width, value_offset = steps * kBytes;
    for (int k = 0; k < steps; ++k) {
        Words key[T];
        for (int t = 0; t < T; ++t) {
            prefetch_far(keys[t] + value_offset + kBytes * k);
            prefetch_far(next[t] + kBytes * k);
            key[t] = cached<F>(keys[t] + kBytes * k);
        }
        for (int q = 0; q < Q; ++q) {
            const Words query = all_words(word_at(a.query[q], k));
            for (int t = 0; t < T; ++t)
                sum[q][t] = kHalf ? dot2(sum[q][t], key[t], query) : fma(as_floats(key[t]), as_floats(query), sum[q][t]);
        }
    }
    if (F == Format::int8)
        for (int t = 0; t < T; ++t) {
            const Floats scales = load((const float*)(keys[t] + 2 * value_offset));
            for (int q = 0; q < Q; ++q) sum[q][t] = mul(sum[q][t], scales);
        }
    for (int q = 0; q < Q; ++q)
        for (int t = 0; t < T; ++t) store(a.scores + q * stride + (tile + t) * kBlock, sum[q][t]);
}

// Scores -> weights that sum to one over what the query may see and are zero beyond; bfloat16 ones lie in the same place.
// Weights of int8 values take in the values' scales.
template <Format F>
__attribute__((noinline)) float soften(const Attention& a, float* scores, int seen, int padded) {
    const float peak = largest(scores, seen);
    const float total = float(exponentials(scores, seen, peak, 1.0f, scores));
    for (int i = seen; i < padded; ++i) scores[i] = 0;
    if (F == Format::int8)
        for (int i = 0; i < padded; i += kBlock) {
            const uint8_t* scales = keys_of(a, i / kBlock) + size_t(2) * a.width * kBlock + kBlock * 4;
            store(scores + i, mul(load(scores + i), load((const float*)scales)));
        }
    if (F != Format::float32) {
        uint16_t* halves = (uint16_t*)scores;
        for (int i = 0; i < padded; i += kLanes) store_halves(halves + i, load(scores + i));
    }
    return 1.0f / total;
}

template <int Q, int V, Format F>
__attribute__((noinline)) void mix(const Attention& a, int tiles, int stride, int vector, const float* shares) {
    Floats sum[Q][V];
    for (int q = 0; q < Q; ++q)
        for (int v = 0; v < V; ++v) sum[q][v] = all(0);
    constexpr bool kHalf = F != Format::float32;
    constexpr int kSteps = kHalf ? kBlock / 2 : kBlock, kBytes = F == Format::int8 ? 32 : 64;
    const size_t step_bytes = size_t(a.width) * kBytes / kLanes, value_offset = step_bytes * kSteps;
    for (int tile = 0; tile < tiles; ++tile) {
        const uint8_t* values = keys_of(a, tile) + value_offset + vector * kBytes;
        for (int s = 0; s < kSteps; ++s, values += step_bytes) {
            Words value[V];
            for (int v = 0; v < V; ++v) {
                prefetch_far(values + value_offset + kBytes * v);
                value[v] = cached<F>(values + kBytes * v);
            }
            for (int q = 0; q < Q; ++q) {
                const Words weight = all_words(word_at((const uint8_t*)(a.scores + q * stride), tile * kSteps + s));
                for (int v = 0; v < V; ++v)
                    sum[q][v] = kHalf ? dot2(sum[q][v], value[v], weight)
                                      : fma(as_floats(value[v]), as_floats(weight), sum[q][v]);
            }
        }
    }
    for (int q = 0; q < Q; ++q)
        for (int v = 0; v < V; ++v) {
            const int first = (vector + v) * kLanes, left = a.real_width - first;
            float part[kLanes];
            store(part, mul(sum[q][v], all(shares[q])));
            for (int i = 0; i < (left < kLanes ? left : kLanes); ++i) a.out[q][first + i] = part[i];
        }
}

template <int Q, Format F>
inline void attend_queries(const Attention& a) {
    constexpr int T = kRegisters / Q > 4 ? 4 : kRegisters / Q < 1 ? 1 : kRegisters / Q, U = T > 2 ? 2 : 1;
    int longest = 0;
    for (int q = 0; q < Q; ++q) longest = a.seen[q] > longest ? a.seen[q] : longest;
    const int tiles = (longest + kBlock - 1) / kBlock, stride = tiles * kBlock;
    int tile = 0;
    for (; tile + T <= tiles; tile += T) score<Q, T, F>(a, tile, tiles, stride);
    for (; tile + U <= tiles; tile += U) score<Q, U, F>(a, tile, tiles, stride);
    for (; tile < tiles; ++tile) score<Q, 1, F>(a, tile, tiles, stride);
    float shares[Q];
    for (int q = 0; q < Q; ++q) shares[q] = soften<F>(a, a.scores + q * stride, a.seen[q], stride);
    const int vectors = a.width / kLanes;
    int vector = 0;
    for (; vector + T <= vectors; vector += T) mix<Q, T, F>(a, tiles, stride, vector, shares);
    for (; vector + U <= vectors; vector += U) mix<Q, U, F>(a, tiles, stride, vector, shares);
    for (; vector < vectors; ++vector) mix<Q, 1, F>(a, tiles, stride, vector, shares);
}

template <Format F>
inline void attend_format(const Attention& a) {
    switch (a.queries) {
        case 1: attend_queries<1, F>(a); break;
        case 2: attend_queries<2, F>(a); break;
        case 3: attend_queries<3, F>(a); break;
        case 4: attend_queries<4, F>(a); break;
        case 5: attend_queries<5, F>(a); break;
        case 6: attend_queries<6, F>(a); break;
        case 7: attend_queries<7, F>(a); break;
    }
}

void attend(const Attention& a) {
    switch (a.format) {
        case Format::float32: attend_format<Format::float32>(a); break;
        case Format::bfloat16: attend_format<Format::bfloat16>(a); break;
        default: attend_format<Format::int8>(a);
    }
}

}  // namespace
