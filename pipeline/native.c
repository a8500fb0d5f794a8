/* A forward pass of few rows through a Llama decoder in one call, for pipeline/native.py.

Weights are read as they are stored, in 16 bit where that loses nothing, and widened in registers: a pass of few rows
takes as long as reading its weights. Every output is added up in one order, whatever the number of rows, and a row
looks at the keys that it may see and at no others, so a row's result is the same bit for bit alone and among others.
Sizes are multiples of LANES. Needs GNU C (gcc or clang), no library. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__) || defined(__F16C__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#define TILE 12 /* rows at once: two registers each, and two for the weights */
#else
#define LANES 8
#define TILE 6
#endif
#define BLOCK (2 * LANES) /* outputs whose weights lie together: [out / BLOCK][in][BLOCK] */
#define AHEAD 4096        /* bytes of weights fetched ahead: what was not used lately comes from far (measured) */

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2)));
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    int32_t in, out, bytes; /* bytes of a weight: 2 or 4 */
    const void *weight;
} Matrix;

/* A draft head's layer has no norm before attention, and none after the last layer: NULL. */
typedef struct {
    const float *attention_norm, *mlp_norm;
    Matrix qkv, out, gate_up, down;
} Layer;

typedef struct {
    int32_t layers, hidden, inner, heads, kv_heads, head;
    float eps;
    const float *norm;
    const Layer *layer;
} Decoder;

int32_t block_size(void) { return BLOCK; }

INLINE vec load(const float *x) { return *(const vec *)x; }
INLINE void store(float *x, vec v) { *(vec *)x = v; }
INLINE vec fill(float x) { return x - (vec){0}; }

INLINE float total(vec v) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    float parts[LANES];
    store(parts, v);
    return ((parts[0] + parts[4]) + (parts[1] + parts[5])) + ((parts[2] + parts[6]) + (parts[3] + parts[7]));
#endif
}

INLINE vec widen(const char *w, const int bytes) {
    if (bytes == 4) return load((const float *)w);
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)w));
#elif defined(__F16C__)
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w));
#else
    ivec wide = __builtin_convertvector(*(const halves *)w, ivec);
    const vec size = (vec)((wide & 0x7fff) << 13) * 0x1p112f;
    return (vec)((ivec)size | ((wide & 0x8000) << 16));
#endif
}

/* Sums [rows, count] of outputs from `at` on to where they belong; the last block holds more than there are. */
static __attribute__((noinline)) void put(const Matrix *m, int at, int count, const float *sums, int rows, float *y,
                                          int width, int add) {
    const int fits = m->out - at < count ? m->out - at : count;
    for (int r = 0; r < rows; r++) {
        float *to = y + (size_t)r * width + at;
        const float *from = sums + (size_t)r * count;
        if (add)
            for (int i = 0; i < fits; i++) to[i] += from[i];
        else
            memcpy(to, from, fits * sizeof(float));
    }
}

/* `rows` rows times the outputs of `blocks` blocks that follow each other; both are known to the compiler. */
INLINE void tile(const Matrix *m, int first, const int bytes, const int blocks, const float *x, const int rows,
                 float *y, int width, int add) {
    const size_t stride = (size_t)m->in * BLOCK * bytes;
    const char *w = (const char *)m->weight + first * stride;
    const int columns = 2 * blocks, in = m->in;
    vec sums[TILE][4];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) sums[r][c] = fill(0);
    for (int i = 0; i < in; i++, w += BLOCK * bytes) {
        vec weight[4];
        for (int b = 0; b < blocks; b++) {
            __builtin_prefetch(w + b * stride + AHEAD);
            for (int half = 0; half < 2; half++)
                weight[2 * b + half] = widen(w + b * stride + half * LANES * bytes, bytes);
        }
        for (int r = 0; r < rows; r++) {
            vec value = fill(x[(size_t)r * in + i]);
            for (int c = 0; c < columns; c++) sums[r][c] += value * weight[c];
        }
    }
    float parts[TILE * 4 * LANES];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) store(parts + (r * columns + c) * LANES, sums[r][c]);
    put(m, first * BLOCK, columns * LANES, parts, rows, y, width, add);
}

#define ROWS(n) case n: tile(m, block, bytes, blocks, x, n, y, width, add); break;
INLINE void rows_of(const Matrix *m, int block, const int bytes, const int blocks, const float *x, int rows, float *y,
                    int width, int add) {
    switch (rows) {
        ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6)
#if TILE > 6
        ROWS(7) ROWS(8) ROWS(9) ROWS(10) ROWS(11) ROWS(12)
#endif
    }
}

INLINE void product(const Matrix *m, const int bytes, const float *x, int rows, float *y, int width, int add) {
    const int blocks = (m->out + BLOCK - 1) / BLOCK;
    int block = 0;
    if (rows <= 3) /* a few rows alone would wait for their own sums: two blocks at once */
        for (; block + 1 < blocks; block += 2) rows_of(m, block, bytes, 2, x, rows, y, width, add);
    /* tiles of about one size: a last one of a single row would read all weights for it */
    const int tiles = (rows + TILE - 1) / TILE, most = (rows + tiles - 1) / tiles;
    for (; block < blocks; block++)
        for (int r = 0; r < rows; r += most)
            rows_of(m, block, bytes, 1, x + (size_t)r * m->in, rows - r < most ? rows - r : most,
                    y + (size_t)r * width, width, add);
}

/* y [rows, width] = (add ? y : 0) + x [rows, in] times the matrix. */
void multiply(const Matrix *m, const float *x, int32_t rows, float *y, int32_t width, int32_t add) {
    if (m->bytes == 2)
        product(m, 2, x, rows, y, width, add);
    else
        product(m, 4, x, rows, y, width, add);
}

INLINE vec either(ivec which, vec yes, vec no) { return (vec)((which & (ivec)yes) | (~which & (ivec)no)); }

/* e to the x, to 1e-7 of it; x is cut at -87 and 88. Cephes' polynomial. */
INLINE vec exponential(vec x) {
    const float magic = 12582912.f; /* adding it rounds to a whole number, which its lowest bits then are */
    x = either(x > fill(-87.f), x, fill(-87.f));
    x = either(x < fill(88.f), x, fill(88.f));
    vec shifted = x * 1.44269504f + magic, whole = shifted - magic;
    vec r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vec p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r +
             1.6666665459e-1f) * r + 5.0000001201e-1f;
    vec y = p * r * r + r + 1.f;
    return (vec)((ivec)y + (((ivec)shifted - (ivec)fill(magic)) << 23));
}

static float root(float x) { /* of a positive number; correctly rounded where the processor has it */
#if defined(__AVX512F__) || defined(__F16C__)
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
#else
    return __builtin_sqrtf(x);
#endif
}

static void normalise(const Decoder *d, const float *weight, const float *x, float *y) {
    vec squares = fill(0);
    for (int i = 0; i < d->hidden; i += LANES) squares += load(x + i) * load(x + i);
    float factor = 1.f / root(total(squares) / d->hidden + d->eps);
    for (int i = 0; i < d->hidden; i += LANES) store(y + i, load(x + i) * factor * load(weight + i));
}

/* Turn heads by their position: the first half of `sin` is negated. */
static void turn(float *x, int heads, int head, const float *cos, const float *sin) {
    for (; heads--; x += head)
        for (int i = 0; i < head / 2; i++) {
            float low = x[i], high = x[i + head / 2];
            x[i] = low * cos[i] + high * sin[i];
            x[i + head / 2] = high * cos[i + head / 2] + low * sin[i + head / 2];
        }
}

/* Attention of one head of one row to the `count` keys that it sees; `shares` has room for them, in whole LANES. */
INLINE void look(const float *q, const float *keys, const float *values, const int32_t *seen, int count,
                 const int head, float *shares, float *mixed) {
    const float scale = 1.f / root((float)head);
    float highest = -1e30f;
    for (int j = 0; j < count; j++) {
        const float *key = keys + (size_t)seen[j] * head;
        vec sum = fill(0);
        for (int i = 0; i < head; i += LANES) sum += load(q + i) * load(key + i);
        shares[j] = total(sum) * scale;
        highest = shares[j] > highest ? shares[j] : highest;
    }
    for (int j = count; j % LANES; j++) shares[j] = -1e30f;
    vec sums = fill(0);
    for (int j = 0; j < count; j += LANES) {
        vec share = exponential(load(shares + j) - highest);
        store(shares + j, share);
        sums += share;
    }
    vec out[256 / LANES];
    for (int i = 0; i < head / LANES; i++) out[i] = fill(0);
    for (int j = 0; j < count; j++) {
        const float *value = values + (size_t)seen[j] * head;
        vec share = fill(shares[j]);
        for (int i = 0; i < head / LANES; i++) out[i] += share * load(value + i * LANES);
    }
    float part = 1.f / total(sums);
    for (int i = 0; i < head / LANES; i++) store(mixed + i * LANES, out[i] * part);
}

static void attend(const Decoder *d, const float *q, const float *keys, const float *values, size_t stride,
                   const int32_t *seen, int count, float *shares, float *mixed) {
    const int head = d->head, group = d->heads / d->kv_heads;
    for (int h = 0; h < d->heads; h++) {
        const float *k = keys + (h / group) * stride, *v = values + (h / group) * stride;
        if (head == 64)
            look(q + h * head, k, v, seen, count, 64, shares, mixed + h * head);
        else if (head == 32)
            look(q + h * head, k, v, seen, count, 32, shares, mixed + h * head);
        else
            look(q + h * head, k, v, seen, count, head, shares, mixed + h * head);
    }
}

/* Which of the first n keys the first head of a layer looks at most, and its share, by row of the states x [rows,
hidden] that enter it. Rows lie x_width apart; positions [rows] are rows of cos and sin [positions, head]; mask [rows,
total_rows] says who sees whom, NULL: everything. keys [layers, kv_heads, capacity, head]. Returns 0, 1 without memory. */
int32_t look_at(const Decoder *d, int32_t index, int32_t rows, const float *x, int32_t x_width, const int64_t *positions,
                const float *cos, const float *sin, const uint8_t *mask, int32_t total_rows, int32_t capacity,
                const float *keys, int32_t n, int32_t *which, float *shares) {
    const int head = d->head;
    const Layer *layer = d->layer + index;
    Matrix first = layer->qkv;
    first.out = head;
    float *normed = malloc((d->hidden + head + total_rows + LANES) * sizeof(float));
    if (!normed) return 1;
    float *query = normed + d->hidden, *all = query + head;
    keys += (size_t)index * d->kv_heads * capacity * head;
    for (int r = 0; r < rows; r++) {
        normalise(d, layer->attention_norm, x + (size_t)r * x_width, normed);
        multiply(&first, normed, 1, query, head, 0);
        turn(query, 1, head, cos + positions[r] * head, sin + positions[r] * head);
        float highest = -1e30f, sum = 0;
        for (int s = 0; s < total_rows; s++) {
            if (mask && !mask[(size_t)r * total_rows + s]) {
                all[s] = -1e30f;
                continue;
            }
            vec product = fill(0);
            for (int i = 0; i < head; i += LANES) product += load(query + i) * load(keys + (size_t)s * head + i);
            all[s] = total(product) / root((float)head);
            highest = all[s] > highest ? all[s] : highest;
        }
        for (int s = total_rows; s % LANES; s++) all[s] = -1e30f;
        for (int s = 0; s < total_rows; s += LANES) store(all + s, exponential(load(all + s) - highest));
        for (int s = 0; s < total_rows; s++) sum += all[s];
        which[r] = 0;
        for (int s = 1; s < n && s < total_rows; s++)
            if (all[s] > all[which[r]]) which[r] = s;
        shares[r] = all[which[r]] / sum;
    }
    free(normed);
    return 0;
}

static float likeness(const float *a, const float *b, int size) {
    vec both = fill(0), first = fill(0), second = fill(0);
    for (int i = 0; i < size; i += LANES) {
        both += load(a + i) * load(b + i);
        first += load(a + i) * load(a + i);
        second += load(b + i) * load(b + i);
    }
    float lengths = root(total(first)) * root(total(second));
    return total(both) / (lengths > 1e-8f ? lengths : 1e-8f);
}

/* Run rows x [rows, hidden] through all layers and the last norm, in place; keys and values [layers, kv_heads,
capacity, head] have `start` rows and get `rows` more behind them. cos, sin: [rows, head]. mask: [rows, start + rows]
bytes, who sees whom; NULL: causal. taps: layers whose entering states are copied to tapped [rows, n_taps, hidden], -1
the result. skip: a byte per layer, attention left out, or NULL. cosines: a mean per layer, or NULL. Returns 0, 1 without memory.
*/
int32_t pass_rows(const Decoder *d, int32_t rows, int32_t start, int32_t capacity, float *x, const float *cos,
             const float *sin, const uint8_t *mask, float *keys, float *values, int32_t n_taps, const int32_t *taps,
             float *tapped, const uint8_t *skip, float *cosines) {
    const int size = d->hidden, head = d->head, queries = d->heads * head, shared = d->kv_heads * head;
    const int wide = queries + 2 * shared, total_rows = start + rows;
    const size_t stride = (size_t)capacity * head, per_layer = stride * d->kv_heads;
    const size_t widest = wide > 2 * d->inner ? wide : 2 * d->inner, narrow = queries > size ? queries : size;
    float *normed = malloc((narrow + widest + size) * rows * sizeof(float) + (total_rows + LANES) * sizeof(float) +
                           ((size_t)total_rows + 1) * rows * sizeof(int32_t));
    if (!normed) return 1;
    float *projected = normed + narrow * rows, *before = projected + widest * rows, *shares = before + (size_t)size * rows;
    int32_t *seen = (int32_t *)(shares + total_rows + LANES), *counts = seen + (size_t)total_rows * rows;
    for (int r = 0; r < rows; r++) {
        counts[r] = 0;
        for (int s = 0; s < total_rows; s++)
            if (mask ? mask[(size_t)r * total_rows + s] : s <= start + r) seen[(size_t)r * total_rows + counts[r]++] = s;
    }
    for (int index = 0; index <= d->layers; index++) {
        if (index == d->layers && d->norm)
            for (int r = 0; r < rows; r++) normalise(d, d->norm, x + (size_t)r * size, x + (size_t)r * size);
        for (int t = 0; t < n_taps; t++)
            if (taps[t] == (index == d->layers ? -1 : index))
                for (int r = 0; r < rows; r++)
                    memcpy(tapped + ((size_t)r * n_taps + t) * size, x + (size_t)r * size, size * sizeof(float));
        if (index == d->layers) break;
        const Layer *layer = d->layer + index;
        if (cosines) memcpy(before, x, (size_t)size * rows * sizeof(float));
        if (!skip || !skip[index]) {
            if (!layer->attention_norm) memcpy(normed, x, (size_t)size * rows * sizeof(float));
            for (int r = 0; r < rows && layer->attention_norm; r++)
                normalise(d, layer->attention_norm, x + (size_t)r * size, normed + (size_t)r * size);
            multiply(&layer->qkv, normed, rows, projected, wide, 0);
            for (int r = 0; r < rows; r++) {
                float *row = projected + (size_t)r * wide;
                turn(row, d->heads + d->kv_heads, head, cos + (size_t)r * head, sin + (size_t)r * head);
                for (int h = 0; h < d->kv_heads; h++) {
                    size_t at = index * per_layer + h * stride + (size_t)(start + r) * head;
                    memcpy(keys + at, row + queries + h * head, head * sizeof(float));
                    memcpy(values + at, row + queries + shared + h * head, head * sizeof(float));
                }
            }
            for (int r = 0; r < rows; r++)
                attend(d, projected + (size_t)r * wide, keys + index * per_layer, values + index * per_layer, stride,
                       seen + (size_t)r * total_rows, counts[r], shares, normed + (size_t)r * queries);
            multiply(&layer->out, normed, rows, x, size, 1);
        }
        if (cosines) {
            cosines[index] = 0;
            for (int r = 0; r < rows; r++)
                cosines[index] += likeness(before + (size_t)r * size, x + (size_t)r * size, size) / rows;
        }
        for (int r = 0; r < rows; r++)
            normalise(d, layer->mlp_norm, x + (size_t)r * size, normed + (size_t)r * size);
        multiply(&layer->gate_up, normed, rows, projected, 2 * d->inner, 0);
        for (int r = 0; r < rows; r++) { /* SiLU(gate) * up, packed for the next product */
            const float *gate = projected + (size_t)r * 2 * d->inner, *up = gate + d->inner;
            float *to = projected + (size_t)r * d->inner;
            for (int i = 0; i < d->inner; i += LANES) {
                vec g = load(gate + i);
                store(to + i, g / (1.f + exponential(-g)) * load(up + i));
            }
        }
        multiply(&layer->down, projected, rows, x, size, 1);
    }
    free(normed);
    return 0;
}
