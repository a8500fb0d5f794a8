/* What touches every pixel or event of a window, for pipeline/inputs.py: a picture made smaller by averaging the areas of
its pixels, as OpenCV's INTER_AREA but for rounding, and events counted in time and space. Needs GNU C (gcc or clang). */

#include "event.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS 3

/* Count events [n] by time, polarity and cell: counts [bins, 2, cells]. They are sorted; bin i begins with event
edges[i] and the last ends before edges[bins]. Cells are those of a row plus those of a column. Returns 0, 1 where an
event lies outside. */
int32_t count_events(const Event *events, int32_t bins, const int64_t *edges, int32_t height, int32_t width,
                     const int32_t *row_cells, const int32_t *column_cells, int32_t cells, int32_t *counts) {
    memset(counts, 0, (size_t)bins * 2 * cells * sizeof(int32_t));
    for (int bin = 0; bin < bins; bin++, counts += 2 * cells)
        for (const Event *event = events + edges[bin], *end = events + edges[bin + 1]; event < end; event++) {
            if (event->x >= width || event->y >= height) return 1;
            counts[row_cells[event->y] + column_cells[event->x] + (event->on ? cells : 0)]++;
        }
    return 0;
}

static float logarithm(int32_t count, float share, const float *known, int32_t n) {
    return count < n ? known[count] : log1pf(count * share);
}

/* What the event model is shown of counts [bins, 2, cells], OFF and ON: the logarithm of one plus a share of each count,
known for the first n numbers, [2 bins, cells]; that of the sums over time [2, cells]; what more was ON than OFF up to
every second bin, as `slope` times the share and cut at `steepest` [bins / 2, cells]. Returns 0, 1 without memory. */
int32_t show_counts(const int32_t *counts, int32_t bins, int32_t cells, float share, const float *known, int32_t n,
                    float slope, float steepest, float *shown) {
    int32_t *sums = calloc((size_t)3 * cells, sizeof(int32_t)), *more = sums + (size_t)2 * cells;
    if (!sums) return 1;
    float *of_sums = shown + (size_t)2 * bins * cells, *of_more = of_sums + (size_t)2 * cells;
    for (int bin = 0; bin < bins; bin++) {
        for (int on = 0; on < 2; on++, counts += cells, shown += cells)
            for (int cell = 0; cell < cells; cell++) {
                shown[cell] = logarithm(counts[cell], share, known, n);
                sums[(size_t)on * cells + cell] += counts[cell];
                more[cell] += on ? counts[cell] : -counts[cell];
            }
        if (bin % 2 == 0) continue;
        for (int cell = 0; cell < cells; cell++) {
            const float steep = more[cell] * share * slope;
            of_more[cell] = steep > steepest ? steepest : steep < -steepest ? -steepest : steep;
        }
        of_more += cells;
    }
    for (int cell = 0; cell < 2 * cells; cell++) of_sums[cell] = logarithm(sums[cell], share, known, n);
    free(sums);
    return 0;
}

/* What one pixel is made of: `count` pixels from `first` on, all of the same share but the first and the last. */
typedef struct {
    int first, count;
    float head, whole, tail;
} Area;

static Area area(int number, double scale, int size) {
    const double from = number * scale, to = from + scale < size ? from + scale : size;
    int first = (int)floor(from), end = (int)ceil(to);
    if (first + 1 - from < 1e-3 && first + 1 < end) first++; /* slivers are rounding */
    if (to - (end - 1) < 1e-3 && end - 1 > first) end--;
    Area made = {first, end - first, 0, (float)(1 / (to - from)), 0};
    const double head = first + 1 - from < 1 ? first + 1 - from : 1, tail = to - (end - 1) < 1 ? to - (end - 1) : 1;
    made.head = (float)(head / (to - from));
    made.tail = (float)(tail / (to - from));
    return made;
}

static float share(const Area *area, int number) {
    return number == 0 ? area->head : number == area->count - 1 ? area->tail : area->whole;
}

/* image [height, width, 3], rows of which lie `stride` bytes apart, to small [side, side, 3]; no side of the image is
below `side`. Returns 0, 1 without memory. */
int32_t shrink(const uint8_t *image, int32_t height, int32_t width, int64_t stride, int32_t side, uint8_t *small) {
    const int wide = width * CHANNELS;
    float *line = malloc(wide * sizeof(float));
    Area *across = malloc(side * sizeof(Area));
    const int failed = !line || !across;
    for (int x = 0; x < side && !failed; x++) across[x] = area(x, (double)width / side, width);
    for (int y = 0; y < side && !failed; y++) {
        const Area down = area(y, (double)height / side, height);
        memset(line, 0, wide * sizeof(float));
        for (int number = 0; number < down.count; number++) {
            const uint8_t *row = image + (down.first + number) * stride;
            const float part = share(&down, number);
            for (int i = 0; i < wide; i++) line[i] += part * row[i];
        }
        for (int x = 0; x < side; x++) {
            const Area *a = across + x;
            const float *from = line + (size_t)a->first * CHANNELS;
            float sums[CHANNELS] = {0};
            for (int number = 0; number < a->count; number++, from += CHANNELS) {
                const float part = share(a, number);
                for (int c = 0; c < CHANNELS; c++) sums[c] += part * from[c];
            }
            for (int c = 0; c < CHANNELS; c++) {
                const float whole = rintf(sums[c]);
                small[((size_t)y * side + x) * CHANNELS + c] = (uint8_t)(whole > 255 ? 255 : whole);
            }
        }
    }
    free(line);
    free(across);
    return failed;
}
