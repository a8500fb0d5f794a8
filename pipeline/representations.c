/* Which polarity a pixel saw, in one pass over the events, for pipeline/representations.py. Needs GNU C (gcc or clang). */

#include "event.h"

#include <string.h>

#define BLOCK 256

/* seen [height, width]: 1 where a pixel saw ON, 2 where OFF; where it saw both, what `both` says, or with 0 its last event.
Returns 0, 1 where an event lies outside.
Reading an event waits while the place of a store before it is not known: so the places of a block are found first
(measured: twice as fast). */
int32_t polarities(const Event *events, int64_t count, int32_t height, int32_t width, int32_t both, uint8_t *seen) {
    const size_t pixels = (size_t)height * width;
    uint32_t place[BLOCK];
    uint8_t polarity[BLOCK];
    memset(seen, 0, pixels);
    for (; count > 0; events += BLOCK, count -= BLOCK) {
        const int n = count < BLOCK ? (int)count : BLOCK;
        int outside = 0;
        for (int i = 0; i < n; i++) {
            outside |= (events[i].x >= width) | (events[i].y >= height);
            place[i] = (uint32_t)events[i].y * (uint32_t)width + events[i].x;
            polarity[i] = 2 - (events[i].on != 0);
        }
        if (outside) return 1;
        if (both)
            for (int i = 0; i < n; i++) seen[place[i]] |= polarity[i];
        else
            for (int i = 0; i < n; i++) seen[place[i]] = polarity[i];
    }
    if (both)
        for (size_t i = 0; i < pixels; i++) seen[i] = seen[i] == 3 ? (uint8_t)both : seen[i];
    return 0;
}
