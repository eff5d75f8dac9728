/* Any processor: loops that the compiler vectorises as well as it can. */

#define WAY "plain"

typedef struct {
    float x[4][LANES];
} chunk_t;

static void arrange(const uint16_t *x, chunk_t *chunk) {
    for (int k = 0; k < 4; k++)
        for (int lane = 0; lane < LANES; lane++) chunk->x[k][lane] = from_bf16(x[4 * lane + k]);
}

static float coded_product(const job_t *job, int64_t r, int64_t t) {
    const uint16_t *codes = job->weight + r * (job->columns / 4);
    const uint16_t *scale = job->scale + r * (job->columns / GROUP);
    const chunk_t *x = (const chunk_t *)job->chunks + t * (job->columns / CHUNK);
    float total = 0;
    for (int64_t at = 0; at < job->columns / CHUNK; at++)
        for (int g = 0; g < GROUPS; g++) {
            float part[8] = {0};
            for (int k = 0; k < 4; k++)
                for (int i = 0; i < 8; i++) {
                    int lane = 8 * g + i;
                    int code = ((codes[at * LANES + lane] >> (4 * k)) & 15) - 8;
                    part[i] += (float)code * x[at].x[k][lane];
                }
            float sum = 0;
            for (int i = 0; i < 8; i++) sum += part[i];
            total += sum * from_bf16(scale[at * GROUPS + g]);
        }
    return total;
}

static float plain_product(const job_t *job, int64_t r, int64_t t) {
    const uint16_t *weight = job->weight + r * job->columns;
    const uint16_t *x = job->x + t * job->columns;
    float part[LANES] = {0};
    for (int64_t at = 0; at < job->columns; at += LANES)
        for (int i = 0; i < LANES; i++) part[i] += from_bf16(weight[at + i]) * from_bf16(x[at + i]);
    float total = 0;
    for (int i = 0; i < LANES; i++) total += part[i];
    return total;
}

#define EACH_PRODUCT(product)                                            \
    for (int64_t t = 0; t < job->tokens; t++)                            \
        for (int64_t r = from; r < to; r++)                              \
            job->y[t * job->rows + r] = to_bf16(product(job, r, t));

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
