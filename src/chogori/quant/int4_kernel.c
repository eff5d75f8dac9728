/* INT4 matrices times a few vectors, straight from the published layout: no second copy.
 *
 *   y[t][r] = sum over c of x[t][c] * scale[r][c / 32] * code[r][c]
 *
 * A chunk is 128 columns: 64 bytes of codes, seen as 32 lanes of 16 bits with four codes each, and
 * four scales. Shifted right by 4k, the low nibbles of the lanes are the codes of the columns
 * 4 * lane + k, so x is arranged beforehand: x[chunk][k][lane] = column chunk * 128 + 4 * lane + k.
 * Products of bfloat16 are added in float32, as in a bfloat16 matrix product.
 *
 * Decoding one token reads every weight once, so a kernel is as good as its share of the memory
 * bandwidth. With AVX512-BF16 a nibble becomes a bfloat16 by one lookup in a register; elsewhere
 * the plain loops below are left to the compiler to vectorise.
 */
#include <stdint.h>
#include <string.h>

#define CHUNK 128
#define LANES 32
#define GROUP 32
#define GROUPS (CHUNK / GROUP)
#define TOKENS 4          /* vectors that share one decoding of a row */
#define AHEAD 16384       /* bytes; into the second cache, whose misses wait in larger number: nearer
                             by, the prefetcher of the processor stops at every page */
#define TASK_BYTES 262144 /* what a thread takes at a time: much more than it reads ahead */

typedef struct {
    const uint16_t *x;     /* bfloat16 [tokens][columns], arranged */
    const uint16_t *codes; /* [rows][columns / 4] */
    const uint16_t *scale; /* bfloat16 [rows][columns / 32] */
    float *y;              /* [tokens][rows] */
    int64_t tokens;
} job_t;

static inline float from_bf16(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}

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

/* One row by `tokens` vectors. Always inlined with a constant, so that every sum has a register; each
 * has two, since a product takes longer than the wait for the next. */
static inline __attribute__((always_inline)) void row(
    const job_t *job, int64_t r, int64_t rows, int64_t columns, int64_t first, const int tokens,
    __m512i table) {
    const uint16_t *codes = job->codes + r * (columns / 4);
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
    for (int t = 0; t < tokens; t++) job->y[(first + t) * rows + r] = _mm512_reduce_add_ps(total[t]);
}

static void rows_of(const job_t *job, int64_t from, int64_t to, int64_t rows, int64_t columns) {
    const __m512i table = values_of_nibbles();
    for (int64_t t = 0; t < job->tokens; t += TOKENS)
        for (int64_t r = from; r < to; r++) switch (job->tokens - t) {
            case 1: row(job, r, rows, columns, t, 1, table); break;
            case 2: row(job, r, rows, columns, t, 2, table); break;
            case 3: row(job, r, rows, columns, t, 3, table); break;
            default: row(job, r, rows, columns, t, 4, table);
        }
}

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

static void rows_of(const job_t *job, int64_t from, int64_t to, int64_t rows, int64_t columns) {
    for (int64_t t = 0; t < job->tokens; t++)
        for (int64_t r = from; r < to; r++) {
            const uint16_t *codes = job->codes + r * (columns / 4);
            const uint16_t *scale = job->scale + r * (columns / GROUP);
            const uint16_t *x = job->x + t * columns;
            float total = 0;
            for (int64_t at = 0; at < columns; at += CHUNK)
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
            job->y[t * rows + r] = total;
        }
}

static uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16); /* ties to even */
}

static void group_of(const uint8_t *codes, uint16_t scale, uint16_t *out) {
    uint16_t table[16];
    for (int i = 0; i < 16; i++) table[i] = to_bf16((float)(i - 8) * from_bf16(scale));
    for (int i = 0; i < GROUP / 2; i++) {
        out[2 * i] = table[codes[i] & 15];
        out[2 * i + 1] = table[codes[i] >> 4];
    }
}

#endif

/* Every job has matrices of the same shape; columns is a multiple of CHUNK. */
void chogori_int4_linear(const job_t *jobs, int64_t count, int64_t rows, int64_t columns) {
    int64_t height = TASK_BYTES / (columns / 2);
    if (height < 1) height = 1;
    int64_t tasks = (rows + height - 1) / height;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t task = 0; task < count * tasks; task++) {
        int64_t from = (task % tasks) * height;
        int64_t to = from + height < rows ? from + height : rows;
        rows_of(jobs + task / tasks, from, to, rows, columns);
    }
}

/* A whole matrix as bfloat16; groups is rows * columns / 32. */
void chogori_int4_dequantize(const uint8_t *codes, const uint16_t *scale, uint16_t *out,
                             int64_t groups) {
#pragma omp parallel for schedule(static)
    for (int64_t g = 0; g < groups; g++)
        group_of(codes + g * (GROUP / 2), scale[g], out + g * GROUP);
}
