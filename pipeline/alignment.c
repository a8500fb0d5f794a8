/* How well one picture is found in another at every displacement, for pipeline/alignment.py.

Normalised cross-correlation as OpenCV's TM_CCORR_NORMED, of several parts at once: a row of displacements fits into few
registers, and what is loaded of a picture serves DOWN displacements in y. Needs GNU C (gcc or clang), no library. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define DOWN 10
#else
#define LANES 8
#define DOWN 3
#endif
#define ACROSS 32 /* displacements in x that have room */
#define COLUMNS (ACROSS / LANES)

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));

int32_t most_shifts(void) { return ACROSS; }

/* Sums [count, ACROSS] of part times picture. part: [high + 2 (DOWN - 1), wide], with rows of zeros above and below;
picture: where the part lies for the smallest displacement. */
static void correlate(const float *part, int high, int wide, const float *picture, int width, int count, float *sums) {
    for (int first = 0; first < count; first += DOWN) {
        vec sum[DOWN][COLUMNS];
        memset(sum, 0, sizeof sum);
        for (int y = 0; y < high + DOWN - 1; y++)
            for (int x = 0; x < wide; x++) {
                const float *from = picture + (size_t)(first + y) * width + x;
                vec seen[COLUMNS];
                for (int c = 0; c < COLUMNS; c++) seen[c] = *(const vec *)(from + c * LANES);
                for (int k = 0; k < DOWN; k++) {
                    const float value = part[(size_t)(y - k + DOWN - 1) * wide + x];
                    for (int c = 0; c < COLUMNS; c++) sum[k][c] += value * seen[c];
                }
            }
        for (int k = 0; k < DOWN && first + k < count; k++)
            memcpy(sums + (size_t)(first + k) * ACROSS, sum[k], sizeof sum[k]);
    }
}

/* Sums of squares over all rectangles that begin at the upper left corner: [side + 1, side + 1]. */
static void integrate(const float *picture, int side, double *sums) {
    for (int x = 0; x <= side; x++) sums[x] = 0;
    for (int y = 0; y < side; y++) {
        const double *above = sums + (size_t)y * (side + 1);
        double *row = sums + (size_t)(y + 1) * (side + 1), line = 0;
        row[0] = 0;
        for (int x = 0; x < side; x++) {
            line += (double)picture[y * side + x] * picture[y * side + x];
            row[x + 1] = above[x + 1] + line;
        }
    }
}

/* Add the likeness at the displacements of one row, of which sums are the products. above, below: integrals where the
compared rectangles begin and end; own: the root of the part's sum of squares. */
static void add_row(const float *sums, const double *above, const double *below, int wide, double own, double share,
                    int count, float *mean) {
    for (int dx = 0; dx < count; dx++) {
        const double there = below[dx + wide] - below[dx] - above[dx + wide] + above[dx];
        const double whole = own * sqrt(there > 0 ? there : 0), sum = sums[dx], size = fabs(sum);
        /* rounding may carry it a little beyond 1; of nothing there is no likeness */
        const double most = size < whole * 1.125 ? size : 0, ratio = most < whole ? most / whole : most > 0 ? 1 : 0;
        mean[dx] += (float)((sum < 0 ? -ratio : ratio) * share);
    }
}

/* Mean likeness [count, count] over tiles x tiles parts of the pictures middle [layers, side, side], each compared with
other at count displacements either way, the smallest of which is -(count - 1) / 2. cuts: [tiles + 1] edges of the parts.
Returns 0, 1 without memory. */
int32_t likeness(const float *other, const float *middle, int32_t layers, int32_t side, int32_t tiles,
                 const int32_t *cuts, int32_t count, float *mean) {
    const int furthest = (count - 1) / 2;
    /* rows and columns are read beyond the picture, where the part or the result is not */
    const size_t pixels = (size_t)side * side, spare = (size_t)(DOWN + 1) * side + ACROSS;
    float *padded = calloc(pixels + spare, sizeof(float));
    float *part = malloc((size_t)(side + 2 * DOWN) * side * sizeof(float));
    float *sums = malloc((size_t)(count + DOWN) * ACROSS * sizeof(float));
    double *squares = malloc((size_t)(side + 1) * (side + 1) * sizeof(double));
    const int failed = !padded || !part || !sums || !squares;
    memset(mean, 0, sizeof(float) * count * count);
    for (int layer = 0; layer < layers && !failed; layer++) {
        memcpy(padded, other + layer * pixels, pixels * sizeof(float));
        integrate(padded, side, squares);
        for (int tile = 0; tile < tiles * tiles; tile++) {
            const int top = cuts[tile / tiles], left = cuts[tile % tiles];
            const int high = cuts[tile / tiles + 1] - top, wide = cuts[tile % tiles + 1] - left;
            double own = 0;
            memset(part, 0, (size_t)(high + 2 * (DOWN - 1)) * wide * sizeof(float));
            for (int y = 0; y < high; y++) {
                const float *from = middle + layer * pixels + (size_t)(top + y) * side + left;
                float *to = part + (size_t)(y + DOWN - 1) * wide;
                for (int x = 0; x < wide; x++) own += (double)from[x] * from[x];
                memcpy(to, from, wide * sizeof(float));
            }
            correlate(part, high, wide, padded + (size_t)(top - furthest) * side + left - furthest, side, count, sums);
            for (int dy = 0; dy < count; dy++) {
                const double *above = squares + (size_t)(top - furthest + dy) * (side + 1) + left - furthest;
                add_row(sums + (size_t)dy * ACROSS, above, above + (size_t)high * (side + 1), wide, sqrt(own),
                        1.0 / (tiles * tiles), count, mean + dy * count);
            }
        }
    }
    free(padded);
    free(part);
    free(sums);
    free(squares);
    return failed;
}
