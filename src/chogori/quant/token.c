/* What a new token needs beside products, in one pass each: norm, rotation, attention.
 *
 * The formulas are those of `model/norm`, `model/rope` and `model/latent`, absorbed; numbers are
 * rounded to bfloat16 where they are there, and sums are float32. A torch operation costs a few
 * microseconds however little it does, and these are thirty of them in every layer.
 */
#include <math.h>

#include "numbers.h"

#define LANES 32
#define HEADS 4 /* that read the cache together, so that it comes from memory for all of them */

static inline float dot(const float *restrict x, const uint16_t *restrict w, int64_t count) {
    float part[LANES] = {0};
    int64_t at = 0;
    for (; at + LANES <= count; at += LANES)
        for (int i = 0; i < LANES; i++) part[i] += x[at + i] * from_bf16(w[at + i]);
    for (; at < count; at++) part[0] += x[at] * from_bf16(w[at]);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) part[i] += part[i + half];
    return part[0];
}

static inline void add(float *restrict y, float factor, const uint16_t *restrict w, int64_t count) {
    for (int64_t i = 0; i < count; i++) y[i] += factor * from_bf16(w[i]);
}

static void norm(const uint16_t *restrict x, const uint16_t *restrict weight, uint16_t *restrict y,
                 int64_t count, float eps) {
    float part[LANES] = {0};
    for (int64_t at = 0; at < count; at += LANES)
        for (int i = 0; i < LANES && at + i < count; i++) {
            float value = from_bf16(x[at + i]);
            part[i] += value * value;
        }
    float total = 0;
    for (int i = 0; i < LANES; i++) total += part[i];
    float factor = 1 / sqrtf(total / (float)count + eps);
    for (int64_t i = 0; i < count; i++)
        y[i] = to_bf16(from_bf16(to_bf16(from_bf16(x[i]) * factor)) * from_bf16(weight[i]));
}

/* Pair by pair, at once to bfloat16. */
static uint16_t turned(const uint16_t *x, const float *cos, const float *sin, int64_t at) {
    int64_t i = at / 2;
    float real = from_bf16(x[2 * i]), imaginary = from_bf16(x[2 * i + 1]);
    return to_bf16(at % 2 ? real * sin[i] + imaginary * cos[i] : real * cos[i] - imaginary * sin[i]);
}

void chogori_rms_norm(const uint16_t *x, const uint16_t *weight, uint16_t *y, int64_t rows,
                      int64_t count, float eps) {
#pragma omp parallel for schedule(static) if (rows > 16)
    for (int64_t row = 0; row < rows; row++)
        norm(x + row * count, weight, y + row * count, count, eps);
}

/* What the cache keeps of a token: its latent, normalised, and its key, turned. */
void chogori_latent_row(const uint16_t *x, const uint16_t *weight, const float *cos,
                        const float *sin, uint16_t *row, int64_t rank, int64_t rope, float eps) {
    norm(x, weight, row, rank, eps);
    for (int64_t at = 0; at < rope; at++) row[rank + at] = turned(x + rank, cos, sin, at);
}

typedef struct {
    const uint16_t *q;    /* [heads][nope + rope], not turned yet */
    const uint16_t *rows; /* [seen][rank + rope] */
    const uint16_t *up;   /* [heads][nope + value][rank] */
    const float *cos;     /* [rope / 2] */
    const float *sin;
    uint16_t *out;  /* [heads][value] */
    float *scratch; /* [heads][rank + rope + seen + rank] */
    int64_t heads, nope, rope, value, rank, seen;
} attention_t;

/* The scratch of a head. */
static float *room(const attention_t *a, int64_t head) {
    return a->scratch + head * (2 * a->rank + a->rope + a->seen);
}

static void ask(const attention_t *a, int64_t head) {
    const uint16_t *q = a->q + head * (a->nope + a->rope);
    const uint16_t *key_up = a->up + head * (a->nope + a->value) * a->rank;
    float *query = room(a, head);
    memset(query, 0, a->rank * sizeof(float));
    for (int64_t n = 0; n < a->nope; n++)
        add(query, from_bf16(q[n]), key_up + n * a->rank, a->rank);
    for (int64_t at = 0; at < a->rope; at++)
        query[a->rank + at] = from_bf16(turned(q + a->nope, a->cos, a->sin, at));
}

/* Scores to shares. */
static void soften(float *score, int64_t count) {
    float most = score[0], total = 0;
    for (int64_t s = 1; s < count; s++) most = score[s] > most ? score[s] : most;
    for (int64_t s = 0; s < count; s++) total += score[s] = expf(score[s] - most);
    for (int64_t s = 0; s < count; s++) score[s] /= total;
}

static void answer(const attention_t *a, int64_t head, const float *sum) {
    const uint16_t *value_up =
        a->up + (head * (a->nope + a->value) + a->nope) * a->rank;
    for (int64_t v = 0; v < a->value; v++)
        a->out[head * a->value + v] = to_bf16(dot(sum, value_up + v * a->rank, a->rank));
}

void chogori_attend(const attention_t *a, float scale) {
    const int64_t width = a->rank + a->rope;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t first = 0; first < a->heads; first += HEADS) {
        int64_t stop = first + HEADS < a->heads ? first + HEADS : a->heads;
        for (int64_t head = first; head < stop; head++) ask(a, head);
        for (int64_t s = 0; s < a->seen; s++)
            for (int64_t head = first; head < stop; head++) {
                float *query = room(a, head);
                query[width + s] = scale * dot(query, a->rows + s * width, width);
            }
        for (int64_t head = first; head < stop; head++) {
            float *score = room(a, head) + width;
            soften(score, a->seen);
            memset(score + a->seen, 0, a->rank * sizeof(float));
        }
        for (int64_t s = 0; s < a->seen; s++)
            for (int64_t head = first; head < stop; head++) {
                float *score = room(a, head) + width;
                add(score + a->seen, score[s], a->rows + s * width, a->rank);
            }
        for (int64_t head = first; head < stop; head++)
            answer(a, head, room(a, head) + width + a->seen);
    }
}
