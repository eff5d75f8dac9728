/* Matrices times a few vectors, straight from the published layout: no second copy.
 *
 *   y[t][r] = sum over c of x[t][c] * w[r][c]      w = scale[r][c / 32] * code[r][c], or plain
 *
 * A chunk of codes is 128 columns: 64 bytes, seen as 32 lanes of 16 bits with four codes each, and
 * four scales. Shifted right by 4k, the low nibbles of the lanes are the codes of the columns
 * 4 * lane + k, so x is arranged beforehand, for all rows, as [chunk][k][lane].
 * A plain matrix is bfloat16 or float32, as x and y are.
 *
 * Decoding one token reads every weight once, so a kernel is as good as its share of the memory
 * bandwidth. How a row is multiplied is told by one of three headers, which define
 *
 *   WAY            its name
 *   chunk_t        a chunk of x as coded_rows wants it, and
 *   arrange        makes it
 *   coded_rows     rows of codes, from one to another, and
 *   plain_rows     of bfloat16
 *   group_of       32 codes as bfloat16
 *
 * and for float32, plain loops are left to the compiler to vectorise.
 */
#include <math.h>

#include "numbers.h"

#define CHUNK 128
#define LANES 32
#define GROUP 32
#define GROUPS (CHUNK / GROUP)
#define TOKENS 4          /* vectors that share one decoding of a row */
#define AHEAD 16384       /* bytes; into the second cache, whose misses wait in larger number: nearer
                             by, the prefetcher of the processor stops at every page */
#define LINE 64          /* bytes that come from memory at once */
#define TASK_BYTES 262144 /* what a thread takes at a time: much more than it reads ahead, */
#define LEAST_BYTES 32768 /* or less where there is little for all of them, but never so little */
#define TASKS 32

typedef struct {
    union {
        const uint16_t *x;  /* bfloat16 [tokens][columns] */
        const void *chunks; /* for codes: chunk_t [tokens][columns / 128] */
        const float *wide_x;
    };
    union {
        const uint16_t *weight; /* codes [rows][columns / 4], or bfloat16 [rows][columns] */
        const float *wide_weight;
    };
    const uint16_t *scale; /* bfloat16 [rows][columns / 32]; none: the weight is plain */
    union {
        uint16_t *y; /* bfloat16 [tokens][rows] */
        float *wide_y;
    };
    int64_t tokens;
    int64_t rows;
    int64_t columns;
    int64_t is_wide; /* x, weight and y are float32 */
} job_t;

/* One row by `tokens` vectors. Always inlined with a constant, so that every sum has a register. */
#define ROW static inline __attribute__((always_inline)) void

/* As many vectors at once as share a row. */
#define EACH_ROW(row, ...)                                               \
    for (int64_t t = 0; t < job->tokens; t += TOKENS)                    \
        for (int64_t r = from; r < to; r++) switch (job->tokens - t) {   \
            case 1: row(job, r, t, 1 __VA_OPT__(,) __VA_ARGS__); break;  \
            case 2: row(job, r, t, 2 __VA_OPT__(,) __VA_ARGS__); break;  \
            case 3: row(job, r, t, 3 __VA_OPT__(,) __VA_ARGS__); break;  \
            default: row(job, r, t, 4 __VA_OPT__(,) __VA_ARGS__);        \
        }

ROW wide_row(const job_t *job, int64_t r, int64_t first, const int tokens) {
    const int64_t columns = job->columns;
    const float *restrict weight = job->wide_weight + r * columns;
    const float *restrict x = job->wide_x + first * columns;
    float part[TOKENS][LANES] = {0};
    int64_t at = 0;
    for (; at + LANES <= columns; at += LANES) {
        for (int i = 0; i < LANES; i += LINE / sizeof(float))
            __builtin_prefetch((const char *)(weight + at + i) + AHEAD, 0, 2);
        for (int t = 0; t < tokens; t++)
            for (int i = 0; i < LANES; i++) part[t][i] += weight[at + i] * x[t * columns + at + i];
    }
    for (; at < columns; at++)
        for (int t = 0; t < tokens; t++) part[t][0] += weight[at] * x[t * columns + at];
    for (int t = 0; t < tokens; t++) {
        for (int half = LANES / 2; half; half /= 2)
            for (int i = 0; i < half; i++) part[t][i] += part[t][i + half];
        job->wide_y[(first + t) * job->rows + r] = part[t][0];
    }
}

static void wide_rows(const job_t *job, int64_t from, int64_t to) { EACH_ROW(wide_row) }

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#include "rows_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "rows_avx2.h"
#else
#include "rows_plain.h"
#endif

const char *chogori_way(void) { return WAY; }

int64_t chogori_chunk_bytes(void) { return sizeof(chunk_t); }

/* x, bfloat16, as it is met beside codes. */
void chogori_arrange(const uint16_t *x, chunk_t *chunks, int64_t count) {
#pragma omp parallel for schedule(static) if (count > 512)
    for (int64_t at = 0; at < count; at++) arrange(x + at * CHUNK, chunks + at);
}

static int64_t row_bytes(const job_t *job) {
    return job->scale ? job->columns / 2 : job->columns * (job->is_wide ? 4 : 2);
}

/* Rows that a thread takes at a time. */
static int64_t height_of(const job_t *job, int64_t bytes) {
    int64_t height = bytes / row_bytes(job);
    return height < 1 ? 1 : height;
}

/* Columns are a multiple of CHUNK for codes, and of LANES for bfloat16; of float32 any number. */
void chogori_products(const job_t *jobs, int64_t count) {
    int64_t bytes = 0, tasks = 0;
    for (int64_t j = 0; j < count; j++) bytes += jobs[j].rows * row_bytes(jobs + j);
    bytes /= TASKS;
    bytes = bytes < LEAST_BYTES ? LEAST_BYTES : bytes > TASK_BYTES ? TASK_BYTES : bytes;
    for (int64_t j = 0; j < count; j++) {
        int64_t height = height_of(jobs + j, bytes);
        tasks += (jobs[j].rows + height - 1) / height;
    }
#pragma omp parallel for schedule(dynamic, 1) if (tasks > 1)
    for (int64_t task = 0; task < tasks; task++) {
        const job_t *job = jobs;
        int64_t at = task, height = height_of(job, bytes);
        for (int64_t own; at >= (own = (job->rows + height - 1) / height); at -= own)
            height = height_of(++job, bytes);
        int64_t from = at * height, to = from + height < job->rows ? from + height : job->rows;
        (job->scale ? coded_rows : job->is_wide ? wide_rows : plain_rows)(job, from, to);
    }
}

/* A whole matrix as bfloat16; groups is rows * columns / 32. */
void chogori_dequantize(const uint8_t *codes, const uint16_t *scale, uint16_t *out, int64_t groups) {
#pragma omp parallel for schedule(static)
    for (int64_t g = 0; g < groups; g++)
        group_of(codes + g * (GROUP / 2), scale[g], out + g * GROUP);
}
