/* Matrices times a few vectors, straight from the published layout: no second copy.
 *
 *   y[t][r] = sum over c of x[t][c] * w[r][c]      w = scale[r][c / 32] * code[r][c], or plain
 *
 * A chunk of codes is 128 columns: 64 bytes, seen as 32 lanes of 16 bits with four codes each, and
 * four scales. Shifted right by 4k, the low nibbles of the lanes are the codes of the columns
 * 4 * lane + k, so x is arranged beforehand: x[chunk][k][lane] = column chunk * 128 + 4 * lane + k.
 * A plain matrix is bfloat16 or float32, as x and y are; products are added in float32 either way.
 *
 * Decoding one token reads every weight once, so a kernel is as good as its share of the memory
 * bandwidth. With AVX512-BF16 a nibble becomes a bfloat16 by one lookup in a register; elsewhere, and
 * for float32 everywhere, plain loops are left to the compiler to vectorise.
 */
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
        const uint16_t *x; /* bfloat16 [tokens][columns], arranged for codes */
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
#include <immintrin.h>

int chogori_is_vectorised(void) { return 1; }

/* The values -8 to 7, twice: a lookup goes by five bits, of which the highest is not ours. */
static inline __m512i values_of_nibbles(void) {
    uint16_t table[32];
    for (int i = 0; i < 32; i++) {
        float value = (float)((i & 15) - 8);
        uint32_t bits;
        memcpy(&bits, &value, 4);
        table[i] = (uint16_t)(bits >> 16);
    }
    return _mm512_loadu_si512(table);
}

static inline __m512 scales_of_chunk(const uint16_t *scale) {
    /* Four scales, each the upper half of four floats. */
    const __m512i lane = _mm512_set_epi16(3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2,
                                          1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i four = _mm512_castsi128_si512(_mm_loadl_epi64((const __m128i *)scale));
    return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xAAAAAAAA, lane, four));
}

/* Every sum has two registers, since a product takes longer than the wait for the next. */
ROW coded_row(const job_t *job, int64_t r, int64_t first, const int tokens, __m512i table) {
    const int64_t columns = job->columns;
    const uint16_t *codes = job->weight + r * (columns / 4);
    const uint16_t *scale = job->scale + r * (columns / GROUP);
    const uint16_t *x = job->x + first * columns;
    __m512 total[TOKENS];
    for (int t = 0; t < tokens; t++) total[t] = _mm512_setzero_ps();
    for (int64_t at = 0; at < columns; at += CHUNK) {
        __m512i lanes = _mm512_loadu_si512(codes + at / 4);
        _mm_prefetch((const char *)(codes + at / 4) + AHEAD, _MM_HINT_T1);
        __m512 part[2][TOKENS];
        for (int t = 0; t < tokens; t++) part[0][t] = part[1][t] = _mm512_setzero_ps();
        for (int k = 0; k < 4; k++) {
            __m512i w = _mm512_permutexvar_epi16(_mm512_srli_epi16(lanes, 4 * k), table);
            for (int t = 0; t < tokens; t++) {
                __m512i v = _mm512_loadu_si512(x + t * columns + at + k * LANES);
                part[k & 1][t] = _mm512_dpbf16_ps(part[k & 1][t], (__m512bh)w, (__m512bh)v);
            }
        }
        __m512 s = scales_of_chunk(scale + at / GROUP);
        for (int t = 0; t < tokens; t++)
            total[t] = _mm512_fmadd_ps(_mm512_add_ps(part[0][t], part[1][t]), s, total[t]);
    }
    for (int t = 0; t < tokens; t++)
        job->y[(first + t) * job->rows + r] = to_bf16(_mm512_reduce_add_ps(total[t]));
}

ROW plain_row(const job_t *job, int64_t r, int64_t first, const int tokens) {
    const int64_t columns = job->columns;
    const uint16_t *weight = job->weight + r * columns;
    const uint16_t *x = job->x + first * columns;
    __m512 part[2][TOKENS];
    for (int t = 0; t < tokens; t++) part[0][t] = part[1][t] = _mm512_setzero_ps();
    for (int64_t at = 0; at < columns; at += 2 * LANES) {
        for (int k = 0; k < 2 && at + k * LANES < columns; k++) {
            __m512i w = _mm512_loadu_si512(weight + at + k * LANES);
            _mm_prefetch((const char *)(weight + at + k * LANES) + AHEAD, _MM_HINT_T1);
            for (int t = 0; t < tokens; t++) {
                __m512i v = _mm512_loadu_si512(x + t * columns + at + k * LANES);
                part[k][t] = _mm512_dpbf16_ps(part[k][t], (__m512bh)w, (__m512bh)v);
            }
        }
    }
    for (int t = 0; t < tokens; t++)
        job->y[(first + t) * job->rows + r] =
            to_bf16(_mm512_reduce_add_ps(_mm512_add_ps(part[0][t], part[1][t])));
}

static void coded_rows(const job_t *job, int64_t from, int64_t to) {
    const __m512i table = values_of_nibbles();
    EACH_ROW(coded_row, table)
}

static void plain_rows(const job_t *job, int64_t from, int64_t to) { EACH_ROW(plain_row) }

/* One group: its sixteen possible values are a table, and its codes look them up. */
static void group_of(const uint8_t *codes, uint16_t scale, uint16_t *out) {
    const __m512 value = _mm512_set_ps(7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8);
    __m256i half = (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(value, _mm512_set1_ps(from_bf16(scale))));
    __m512i table = _mm512_broadcast_i64x4(half);
    __m512i byte = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)codes));
    /* The low nibble to the low half of 32 bits, the high nibble to the high half. */
    __m512i lanes = _mm512_or_si512(byte, _mm512_slli_epi32(byte, 12));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi16(lanes, table));
}

#else

int chogori_is_vectorised(void) { return 0; }

static float coded_product(const job_t *job, int64_t r, const uint16_t *x) {
    const uint16_t *codes = job->weight + r * (job->columns / 4);
    const uint16_t *scale = job->scale + r * (job->columns / GROUP);
    float total = 0;
    for (int64_t at = 0; at < job->columns; at += CHUNK)
        for (int g = 0; g < GROUPS; g++) {
            float part[8] = {0};
            for (int k = 0; k < 4; k++)
                for (int i = 0; i < 8; i++) {
                    int lane = 8 * g + i;
                    int code = ((codes[at / 4 + lane] >> (4 * k)) & 15) - 8;
                    part[i] += (float)code * from_bf16(x[at + k * LANES + lane]);
                }
            float sum = 0;
            for (int i = 0; i < 8; i++) sum += part[i];
            total += sum * from_bf16(scale[at / GROUP + g]);
        }
    return total;
}

static float plain_product(const job_t *job, int64_t r, const uint16_t *x) {
    const uint16_t *weight = job->weight + r * job->columns;
    float part[LANES] = {0};
    for (int64_t at = 0; at < job->columns; at += LANES)
        for (int i = 0; i < LANES; i++) part[i] += from_bf16(weight[at + i]) * from_bf16(x[at + i]);
    float total = 0;
    for (int i = 0; i < LANES; i++) total += part[i];
    return total;
}

#define EACH_PRODUCT(product)                                                \
    for (int64_t t = 0; t < job->tokens; t++)                            \
        for (int64_t r = from; r < to; r++)                              \
            job->y[t * job->rows + r] = to_bf16(product(job, r, job->x + t * job->columns));

static void coded_rows(const job_t *job, int64_t from, int64_t to) { EACH_PRODUCT(coded_product) }

static void plain_rows(const job_t *job, int64_t from, int64_t to) { EACH_PRODUCT(plain_product) }

static void group_of(const uint8_t *codes, uint16_t scale, uint16_t *out) {
    uint16_t table[16];
    for (int i = 0; i < 16; i++) table[i] = to_bf16((float)(i - 8) * from_bf16(scale));
    for (int i = 0; i < GROUP / 2; i++) {
        out[2 * i] = table[codes[i] & 15];
        out[2 * i + 1] = table[codes[i] >> 4];
    }
}

#endif

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
