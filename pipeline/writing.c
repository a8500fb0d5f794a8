/* Words written on by passes of native.c, in one call: a chain of a decoder's likeliest words, and a tree of a draft
head's. For pipeline/native.py. */

#include "native.c"

#include <math.h>

/* Say the likeliest token up to `count` times, each after a pass over the one before; `end` is the last one said. Before
the first come the `fed` tokens. cos, sin: [positions, head], a row's position is its place in the cache, the first of
which is `start`. Writes said, logits [count, vocabulary] and the states that led to them [count, hidden]. Returns how
many were said, -1 without memory. */
int32_t write_on(const Decoder *d, const Matrix *words, const float *embeddings, int32_t fed, const int32_t *tokens,
                 int32_t start, int32_t capacity, int32_t count, int32_t end, const float *cos, const float *sin,
                 float *keys, float *values, int32_t *said, float *logits, float *states) {
    const size_t size = d->hidden, head = d->head;
    float *x = malloc(fed * size * sizeof(float));
    if (!x) return -1;
    int said_so_far = 0;
    while (said_so_far < count && (!said_so_far || said[said_so_far - 1] != end)) {
        const int rows = said_so_far ? 1 : fed;
        for (int r = 0; r < rows; r++)
            memcpy(x + r * size, embeddings + (said_so_far ? said[said_so_far - 1] : tokens[r]) * size,
                   size * sizeof(float));
        if (pass_rows(d, rows, start, capacity, x, cos + start * head, sin + start * head, NULL, keys, values, 0, NULL,
                      NULL, NULL, NULL)) {
            said_so_far = -1;
            break;
        }
        float *state = states + said_so_far * size, *scores = logits + (size_t)said_so_far * words->out;
        memcpy(state, x + (rows - 1) * size, size * sizeof(float));
        multiply(words, state, 1, scores, words->out, 0);
        int best = 0;
        for (int i = 1; i < words->out; i++)
            if (scores[i] > scores[best]) best = i;
        said[said_so_far++] = best;
        start += rows;
    }
    free(x);
    return said_so_far;
}

enum { WIDEST = 8 };

/* The `width` largest of n numbers, the largest first; of equals the first. */
static void largest(const float *x, int n, int width, int *at) {
    int found = 0;
    for (int i = 0; i < n; i++) {
        if (found == width && x[i] <= x[at[found - 1]]) continue;
        int place = found < width ? found++ : found - 1;
        for (; place > 0 && x[i] > x[at[place - 1]]; place--) at[place] = at[place - 1];
        at[place] = i;
    }
}

/* Logarithm of the sum of e to the x. */
static float log_sum(const float *x, int n) {
    float highest = x[0], rest = 0;
    vec sums = fill(0);
    int i = 0;
    for (int j = 1; j < n; j++) highest = x[j] > highest ? x[j] : highest;
    for (; i + LANES <= n; i += LANES) sums += exponential(load(x + i) - highest);
    for (; i < n; i++) rest += expf(x[i] - highest);
    return highest + logf(total(sums) + rest);
}

/* Grow a tree level by level as grow() in pipeline/trees.py does: the `width` likeliest nodes of a level get `width`
children each. d: a draft head's layer; enter: what makes its input of a word's embedding and the state before it, with
a bias; words: what reads words from states. states [1 + nodes, hidden]: the first is there, that which leads to the first
level, node n's is written to n + 1 where it was expanded. The cache has `start` rows and is written behind them. Writes
tokens, parents and log-scores of the nodes, width + (depth - 1) width^2 at most; returns how many, -1 without memory. */
int32_t grow_tree(const Decoder *d, const Matrix *enter, const float *bias, const Matrix *words, const float *embeddings,
                  int32_t start, int32_t capacity, int32_t width, int32_t depth, int32_t end, const float *cos,
                  const float *sin, float *keys, float *values, int32_t *tokens, int32_t *parents, float *scores,
                  float *states) {
    const int size = d->hidden, head = d->head, vocabulary = words->out;
    const int most = width + (depth - 1) * width * width, rows_most = start + depth * width;
    int count = 0, written = 0, sources = 1, frontier[WIDEST] = {-1};
    if (width > WIDEST) return -1;
    float *totals = malloc(most * sizeof(float)), *logits = malloc((size_t)width * vocabulary * sizeof(float));
    float *x = malloc((size_t)width * 3 * size * sizeof(float)), *turns = malloc(2 * width * head * sizeof(float));
    int32_t *row_of = malloc(most * sizeof(int32_t));
    uint8_t *mask = malloc((size_t)width * rows_most);
    if (!totals || !logits || !x || !turns || !row_of || !mask) count = -1;
    if (count >= 0) multiply(words, states, 1, logits, vocabulary, 0);
    for (int level = 1; count >= 0; level++) {
        const int first = count;
        for (int s = 0; s < sources; s++) {
            const float *row = logits + (size_t)s * vocabulary, whole = log_sum(row, vocabulary);
            const int before = frontier[s];
            int best[WIDEST];
            largest(row, vocabulary, width, best);
            for (int i = 0; i < width; i++, count++) {
                tokens[count] = best[i];
                parents[count] = before;
                scores[count] = row[best[i]] - whole;
                totals[count] = scores[count] + (before >= 0 ? totals[before] : 0);
            }
        }
        sources = 0;
        for (int node = first; node < count; node++) { /* the likeliest that something may follow */
            if (tokens[node] == end || (sources == width && totals[node] <= totals[frontier[width - 1]])) continue;
            int place = sources < width ? sources++ : width - 1;
            for (; place > 0 && totals[node] > totals[frontier[place - 1]]; place--)
                frontier[place] = frontier[place - 1];
            frontier[place] = node;
        }
        if (level == depth || !sources) break;
        float *pairs = x + (size_t)width * size;
        const int total_rows = start + written + sources;
        memset(mask, 0, (size_t)sources * total_rows);
        for (int s = 0; s < sources; s++) {
            const int node = frontier[s];
            uint8_t *sees = mask + (size_t)s * total_rows;
            row_of[node] = start + written + s;
            memset(sees, 1, start);
            for (int above = node; above >= 0; above = parents[above]) sees[row_of[above]] = 1;
            memcpy(pairs + (size_t)s * 2 * size, embeddings + (size_t)tokens[node] * size, size * sizeof(float));
            memcpy(pairs + ((size_t)s * 2 + 1) * size, states + (size_t)(parents[node] + 1) * size, size * sizeof(float));
            memcpy(turns + s * head, cos + (size_t)(start - 1 + level) * head, head * sizeof(float));
            memcpy(turns + (width + s) * head, sin + (size_t)(start - 1 + level) * head, head * sizeof(float));
            memcpy(x + (size_t)s * size, bias, size * sizeof(float));
        }
        multiply(enter, pairs, sources, x, size, 1);
        if (pass_rows(d, sources, start + written, capacity, x, turns, turns + width * head, mask, keys, values, 0, NULL,
                      NULL, NULL, NULL)) {
            count = -1;
            break;
        }
        for (int s = 0; s < sources; s++)
            memcpy(states + (size_t)(frontier[s] + 1) * size, x + (size_t)s * size, size * sizeof(float));
        multiply(words, x, sources, logits, vocabulary, 0);
        written += sources;
    }
    free(totals);
    free(logits);
    free(x);
    free(turns);
    free(row_of);
    free(mask);
    return count;
}
