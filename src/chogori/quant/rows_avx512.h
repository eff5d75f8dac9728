/* With AVX512-BF16 a nibble becomes a bfloat16 by one lookup in a register, and the products of pairs
 * are one instruction.
 */
#include <immintrin.h>

#define WAY "AVX512-BF16"

typedef struct {
    uint16_t x[4][LANES];
} chunk_t;

static void arrange(const uint16_t *x, chunk_t *chunk) {
    for (int k = 0; k < 4; k++)
        for (int lane = 0; lane < LANES; lane++) chunk->x[k][lane] = x[4 * lane + k];
}

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
    const uint16_t *x = (const uint16_t *)job->chunks + first * columns;
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
