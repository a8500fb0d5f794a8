/* Which polarity a pixel saw, in one pass over the events, for pipeline/representations.py. Needs GNU C (gcc or clang). */

#include "event.h"

#include <string.h>

/* seen [height, width]: 1 where a pixel saw ON, 2 where OFF, 3 where both; with `last`, its last event alone. Returns 0, 1
where an event lies outside. */
int32_t polarities(const Event *events, int64_t count, int32_t height, int32_t width, int32_t last, uint8_t *seen) {
    memset(seen, 0, (size_t)height * width);
    for (const Event *event = events, *end = events + count; event < end; event++) {
        if (event->x >= width || event->y >= height) return 1;
        uint8_t *pixel = seen + (size_t)event->y * width + event->x;
        const uint8_t polarity = 2 - (event->on != 0);
        *pixel = last ? polarity : *pixel | polarity;
    }
    return 0;
}
