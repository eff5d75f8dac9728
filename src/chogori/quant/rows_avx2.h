/* With AVX2, whole numbers: codes are, and x becomes so group by group, 15 bits and a sign of a unit
 * that is a power of two. A bfloat16 has 8 bits, so what is at least a 128th of the largest in its
 * group stays as it is, and what is less is off by half a unit, 2^-16 of that largest, at most. Sums
 * of a group are exact. Codes are taken as 0 to 15, and 8 times the sum of x off what comes out.
 */
#include <immintrin.h>

#define WAY "AVX2"

typedef struct {
    int16_t x[4][LANES];
    float unit[GROUPS];
    float surplus[GROUPS]; /* 8 times the sum of a group, in its unit */
} chunk_t;

/* Eight of bfloat16, in float32. */
static inline __m256 eight(const uint16_t *x) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)x));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static void arrange(const uint16_t *x, chunk_t *chunk) {
    uint16_t turned[4][LANES];
    for (int lane = 0; lane < LANES; lane++)
        for (int k = 0; k < 4; k++) turned[k][lane] = x[4 * lane + k];
    for (int g = 0; g < GROUPS; g++) {
        int most = 0, total = 0;
        for (int i = 0; i < GROUP; i++) {
            int size = x[g * GROUP + i] & 0x7FFF;
            most = size > most ? size : most;
        }
        int exponent = most >> 7;
        if (exponent < 15) exponent = 15; /* so that the unit has a reciprocal */
        int is_number = exponent < 255;
        float unit = is_number ? ldexpf(1, exponent - 127 - 14) : NAN;
        __m256 parts = _mm256_set1_ps(is_number ? 1 / unit : 0);
        for (int k = 0; k < 4; k++) {
            int16_t *out = chunk->x[k] + 8 * g;
            __m256i whole = _mm256_cvtps_epi32(_mm256_mul_ps(eight(turned[k] + 8 * g), parts));
            __m128i upper = _mm256_extracti128_si256(whole, 1);
            __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(whole), upper);
            _mm_storeu_si128((__m128i *)out, packed);
            for (int i = 0; i < 8; i++) total += out[i];
        }
        chunk->unit[g] = unit;
        chunk->surplus[g] = 8 * (float)total;
    }
}

static inline float sum_of(__m256 value) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

/* The lanes of half a chunk by its x: pairs of columns, two groups. */
static inline __m256 half_of(const __m256i code[4], const chunk_t *x, int half) {
    __m256i pairs[4];
    for (int k = 0; k < 4; k++)
        pairs[k] = _mm256_madd_epi16(
            code[k], _mm256_loadu_si256((const __m256i *)(x->x[k] + half * LANES / 2)));
    return _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_add_epi32(pairs[0], pairs[1]),
                                               _mm256_add_epi32(pairs[2], pairs[3])));
}

ROW coded_row(const job_t *job, int64_t r, int64_t first, const int tokens) {
    const int64_t chunks = job->columns / CHUNK;
    const uint16_t *codes = job->weight + r * (job->columns / 4);
    const uint16_t *scale = job->scale + r * (job->columns / GROUP);
    const chunk_t *x = (const chunk_t *)job->chunks + first * chunks;
    const __m256i low = _mm256_set1_epi16(15);
    __m256 total[TOKENS];
    __m128 surplus[TOKENS];
    for (int t = 0; t < tokens; t++) {
        total[t] = _mm256_setzero_ps();
        surplus[t] = _mm_setzero_ps();
    }
    for (int64_t at = 0; at < chunks; at++) {
        __m128i bits = _mm_loadl_epi64((const __m128i *)(scale + at * GROUPS));
        __m128 scales = _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(bits), 16));
        _mm_prefetch((const char *)(codes + at * LANES) + AHEAD, _MM_HINT_T1);
        __m256 sums[2][TOKENS];
        for (int half = 0; half < 2; half++) {
            const uint16_t *own = codes + at * LANES + half * LANES / 2;
            __m256i lanes = _mm256_loadu_si256((const __m256i *)own);
            __m256i code[4] = {
                _mm256_and_si256(lanes, low),
                _mm256_and_si256(_mm256_srli_epi16(lanes, 4), low),
                _mm256_and_si256(_mm256_srli_epi16(lanes, 8), low),
                _mm256_srli_epi16(lanes, 12),
            };
            for (int t = 0; t < tokens; t++) sums[half][t] = half_of(code, x + t * chunks + at, half);
        }
        for (int t = 0; t < tokens; t++) {
            const chunk_t *own = x + t * chunks + at;
            __m128 factor = _mm_mul_ps(scales, _mm_loadu_ps(own->unit));
            __m256 both = _mm256_castps128_ps256(factor);
            surplus[t] = _mm_fmadd_ps(factor, _mm_loadu_ps(own->surplus), surplus[t]);
            const __m256i first_two = _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0);
            const __m256i last_two = _mm256_set_epi32(3, 3, 3, 3, 2, 2, 2, 2);
            total[t] = _mm256_fmadd_ps(
                sums[0][t], _mm256_permutevar8x32_ps(both, first_two), total[t]);
            total[t] = _mm256_fmadd_ps(
                sums[1][t], _mm256_permutevar8x32_ps(both, last_two), total[t]);
        }
    }
    for (int t = 0; t < tokens; t++) {
        __m256 less = _mm256_castps128_ps256(surplus[t]);
        less = _mm256_insertf128_ps(less, _mm_setzero_ps(), 1);
        job->y[(first + t) * job->rows + r] = to_bf16(sum_of(_mm256_sub_ps(total[t], less)));
    }
}

/* The even columns are upper halves once they are shifted, the odd ones are where they stand. */
ROW plain_row(const job_t *job, int64_t r, int64_t first, const int tokens) {
    const int64_t columns = job->columns;
    const uint16_t *weight = job->weight + r * columns;
    const uint16_t *x = job->x + first * columns;
    const __m256i upper = _mm256_set1_epi32((int)0xFFFF0000);
    __m256 even[TOKENS], odd[TOKENS];
    for (int t = 0; t < tokens; t++) even[t] = odd[t] = _mm256_setzero_ps();
    for (int64_t at = 0; at < columns; at += 16) {
        __m256i w = _mm256_loadu_si256((const __m256i *)(weight + at));
        if (at % LANES == 0) _mm_prefetch((const char *)(weight + at) + AHEAD, _MM_HINT_T1);
        __m256 w_even = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
        __m256 w_odd = _mm256_castsi256_ps(_mm256_and_si256(w, upper));
        for (int t = 0; t < tokens; t++) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(x + t * columns + at));
            __m256 v_even = _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
            __m256 v_odd = _mm256_castsi256_ps(_mm256_and_si256(v, upper));
            even[t] = _mm256_fmadd_ps(w_even, v_even, even[t]);
            odd[t] = _mm256_fmadd_ps(w_odd, v_odd, odd[t]);
        }
    }
    for (int t = 0; t < tokens; t++)
        job->y[(first + t) * job->rows + r] = to_bf16(sum_of(_mm256_add_ps(even[t], odd[t])));
}

static void coded_rows(const job_t *job, int64_t from, int64_t to) { EACH_ROW(coded_row) }

static void plain_rows(const job_t *job, int64_t from, int64_t to) { EACH_ROW(plain_row) }

/* One group: its sixteen possible values are a table of low bytes and one of high ones, in which its
 * codes look them up. */
static void group_of(const uint8_t *codes, uint16_t scale, uint16_t *out) {
    uint16_t value[16];
    uint8_t low[16], high[16];
    for (int i = 0; i < 16; i++) value[i] = to_bf16((float)(i - 8) * from_bf16(scale));
    for (int i = 0; i < 16; i++) {
        low[i] = (uint8_t)value[i];
        high[i] = (uint8_t)(value[i] >> 8);
    }
    __m128i lows = _mm_loadu_si128((const __m128i *)low);
    __m128i highs = _mm_loadu_si128((const __m128i *)high);
    __m128i both = _mm_loadu_si128((const __m128i *)codes);
    __m128i even = _mm_and_si128(both, _mm_set1_epi8(15));
    __m128i odd = _mm_and_si128(_mm_srli_epi16(both, 4), _mm_set1_epi8(15));
    __m128i even_low = _mm_shuffle_epi8(lows, even), even_high = _mm_shuffle_epi8(highs, even);
    __m128i odd_low = _mm_shuffle_epi8(lows, odd), odd_high = _mm_shuffle_epi8(highs, odd);
    for (int half = 0; half < 2; half++) {
        __m128i evens = half ? _mm_unpackhi_epi8(even_low, even_high)
                             : _mm_unpacklo_epi8(even_low, even_high);
        __m128i odds = half ? _mm_unpackhi_epi8(odd_low, odd_high)
                            : _mm_unpacklo_epi8(odd_low, odd_high);
        __m128i *to = (__m128i *)(out + 16 * half);
        _mm_storeu_si128(to, _mm_unpacklo_epi16(evens, odds));
        _mm_storeu_si128(to + 1, _mm_unpackhi_epi16(evens, odds));
    }
}
