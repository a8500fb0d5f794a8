#include <stdint.h>

/* An event as streams/types.py lays it out. */
typedef struct {
    int64_t t;
    uint16_t x, y;
    uint8_t on, unused[3];
} Event;
