/*
 * Gives the C interface prefixes, damaged messages, random bytes and wrong arguments. Run under AddressSanitizer and UBSan.
 *
 * Each buffer ends where a page begins that cannot be read, so that a read beyond its end ends the process, also one by code that
 * no sanitizer has instrumented.
 *
 *   hostile [ROUNDS [SEED]]
 */
#define _GNU_SOURCE
#define RP_HOST
#include "running_process.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);        \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

enum { ROOM = 1 << 16, SERVED = 0xF0C0, DETECTED = 0x2A };

static uint8_t *fence; /* the first byte that cannot be read */
static const rp_mux *mux;
static uint64_t state;

/* xorshift64* of Marsaglia and Vigna */
static uint64_t random_number(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(2685821657736338717);
}

/* Returns a copy of the bytes that ends at the fence. */
static const uint8_t *fenced(const uint8_t *data, size_t length)
{
    CHECK(length <= ROOM);
    if (length > 0) memmove(fence - length, data, length);
    return fence - length;
}

static int32_t detect(void *context, const uint8_t *data, size_t length)
{
    ++*(uint64_t *)context;
    CHECK(length > 0);
    if (data[0] != 1 || length < 2) return data[0] == 1 && length < 2 ? RP_LEGACY_NEED_MORE_BYTES : 77;
    return data[1] == DETECTED ? RP_LEGACY_YES : RP_LEGACY_NO;
}

static uint64_t sum(rp_bytes bytes)
{
    uint64_t total = 0;
    for (size_t at = 0; at < bytes.length; at++) total += bytes.data[at];
    return total;
}

static bool is_within(rp_bytes bytes, const uint8_t *data, size_t length)
{
    return bytes.length == 0 || (bytes.data >= data && bytes.data + bytes.length <= data + length);
}

/* Encodes a decoded frame again, in both ways. */
static void encode_again(const rp_frame *frame)
{
    static uint8_t whole[ROOM + RP_FRAME_OVERHEAD], around[ROOM + RP_FRAME_OVERHEAD];
    size_t length, before, around_length;
    CHECK(rp_frame_encode(frame, NULL, 0, &length) == RP_STATUS_BUFFER_TOO_SMALL);
    CHECK(length - frame->payload.length - frame->traceparent.length - frame->tracestate.length <= RP_FRAME_OVERHEAD);
    if (length > sizeof whole) return;
    CHECK(rp_frame_encode(frame, whole, length, &length) == RP_STATUS_OK);
    CHECK(rp_frame_encode(frame, whole, length - 1, &length) == RP_STATUS_BUFFER_TOO_SMALL);
    CHECK(rp_frame_encode_around(frame, around, sizeof around, &before, &around_length) == RP_STATUS_OK);
    CHECK(around_length + frame->payload.length == length && before <= around_length);
    CHECK(memcmp(whole, around, before) == 0);
    CHECK(frame->payload.length == 0 || memcmp(whole + before, frame->payload.data, frame->payload.length) == 0);
    rp_frame again;
    size_t consumed;
    CHECK(rp_frame_decode(whole, length, &again, &consumed) == RP_STATUS_OK && consumed == length);
    CHECK(again.request_id == frame->request_id && again.kind == frame->kind);
    CHECK(again.payload.length == frame->payload.length && sum(again.payload) == sum(frame->payload));
}

/* Lets every function that reads bytes read these. Returns whether they begin with a whole frame. */
static bool examine(const uint8_t *bytes, size_t length)
{
    const uint8_t *data = fenced(bytes, length);
    rp_frame frame;
    size_t consumed = 0;
    rp_status decoded = rp_frame_decode(data, length, &frame, &consumed);
    bool is_frame = decoded == RP_STATUS_OK && consumed > 0;
    CHECK(consumed <= length);
    if (is_frame) {
        CHECK(is_within(frame.payload, data, length) && is_within(frame.traceparent, data, length));
        CHECK(is_within(frame.tracestate, data, length));
        encode_again(&frame);
        rp_frame_check(&frame, 0);
    }

    rp_poll poll, framed;
    rp_status status = rp_mux_poll(mux, data, length, &poll);
    rp_status framed_status = rp_mux_poll_framed(mux, data, length, &framed);
    CHECK((status == RP_STATUS_OK) == (poll.verdict != RP_VERDICT_ERROR));
    CHECK(poll.consumed <= length && framed.verdict != RP_VERDICT_LEGACY);
    if (length == 0) CHECK(poll.verdict == RP_VERDICT_NEED_MORE_BYTES);
    else if (data[0] != 1) CHECK(poll.verdict == RP_VERDICT_LEGACY && framed_status == RP_STATUS_FRAMING_VERSION);
    else if (length > 1 && data[1] == DETECTED) CHECK(poll.verdict == RP_VERDICT_LEGACY);
    else if (length > 1) CHECK(status == framed_status && poll.verdict == framed.verdict && poll.consumed == framed.consumed);
    if (framed.verdict == RP_VERDICT_FRAME) CHECK(is_frame && framed.frame.payload_protocol == SERVED);
    if (framed_status == RP_STATUS_UNSERVED || framed_status == RP_STATUS_FIRST_PARTY) {
        static uint8_t out[ROOM + RP_REFUSAL_OVERHEAD];
        CHECK(is_frame && framed.frame.payload_protocol != SERVED && framed.consumed == consumed);
        rp_refusal refusal = { .reason = RP_REASON_UNSERVED_PROTOCOL };
        size_t refused;
        CHECK(rp_refusal_encode(&framed.frame, &refusal, out, sizeof out, &refused) == RP_STATUS_OK);
        CHECK(rp_frame_decode(out, refused, &frame, &consumed) == RP_STATUS_OK && consumed == refused);
        CHECK(frame.payload_protocol == 0 && frame.kind == RP_KIND_RESPONSE);
        CHECK(frame.request_id == framed.frame.request_id);
    }
    if (framed.verdict == RP_VERDICT_PROBE) {
        uint8_t out[8192];
        size_t answered;
        CHECK(rp_mux_answer(mux, &framed, out, sizeof out, &answered) == RP_STATUS_OK);
        CHECK(rp_frame_decode(out, answered, &frame, &consumed) == RP_STATUS_OK && consumed == answered);
        CHECK(frame.payload.length > 32 && memcmp(frame.payload.data, framed.frame.payload.data, 32) == 0);
    }

    rp_identity *identity = NULL;
    if (rp_identity_decode(data, length, &identity, NULL, 0) == RP_STATUS_OK) rp_identity_free(identity);
    return is_frame;
}

static rp_bytes text(const char *text)
{
    return (rp_bytes){ (const uint8_t *)text, strlen(text) };
}

static rp_identity *new_identity(void)
{
    static const uint8_t digest[32] = { 7, 1 }, instance[16] = { 9 };
    rp_identity_fields fields = {
        .pid = 4711, .exe_path = text("/usr/bin/daemon"), .exe_sha256 = digest, .exe_blake3 = digest,
        .boot_id = text("bf5d2e79-882d-4c1e-887d-c1febae8aeab"), .namespace_id = text("test"),
        .endpoint_path = text("/run/daemon.sock"), .started_at_unix_ms = 1795339405167, .has_idle_timeout = 1,
        .idle_timeout_secs = 600, .instance_id = instance, .start_time = 950, .version = text("1.2.3"), .build = text("4f2a91c"),
    };
    rp_identity *identity = NULL;
    char reason[128] = "";
    CHECK(rp_identity_new(&fields, &identity, reason, sizeof reason) == RP_STATUS_OK);

    rp_identity *none = NULL;
    fields.pid = 0;
    CHECK(rp_identity_new(&fields, &none, reason, sizeof reason) == RP_STATUS_IDENTITY && none == NULL);
    CHECK(strcmp(reason, "identity has no pid") == 0);
    CHECK(rp_identity_new(&fields, &none, reason, 9) == RP_STATUS_IDENTITY && strcmp(reason, "identity") == 0);
    CHECK(rp_identity_new(&fields, &none, NULL, 0) == RP_STATUS_IDENTITY);
    fields.pid = 4711;
    fields.exe_blake3 = fields.exe_sha256 = NULL;
    CHECK(rp_identity_new(&fields, &none, NULL, 0) == RP_STATUS_IDENTITY);
    fields.exe_sha256 = digest;
    fields.version = (rp_bytes){ (const uint8_t *)"\xff", 1 };
    CHECK(rp_identity_new(&fields, &none, NULL, 0) == RP_STATUS_NOT_UTF8);
    fields.version.length = SIZE_MAX;
    CHECK(rp_identity_new(&fields, &none, NULL, 0) == RP_STATUS_INVALID_ARGUMENT);
    return identity;
}

static void check_wrong_arguments(const rp_identity *identity)
{
    rp_frame frame = { .envelope_version = 1 };
    rp_poll poll;
    rp_refusal refusal = { .reason = RP_REASON_OVERLOADED };
    uint8_t out[256];
    size_t length;
    rp_mux *made;
    const uint32_t served[] = { SERVED };
    CHECK(rp_frame_decode(NULL, 1, &frame, &length) == RP_STATUS_NULL_POINTER);
    CHECK(rp_frame_decode(out, SIZE_MAX, &frame, &length) == RP_STATUS_INVALID_ARGUMENT);
    CHECK(rp_frame_decode(out, 1, NULL, &length) == RP_STATUS_NULL_POINTER);
    CHECK(rp_frame_decode(out, 1, &frame, NULL) == RP_STATUS_NULL_POINTER);
    CHECK(rp_frame_check(NULL, 0) == RP_STATUS_NULL_POINTER);
    CHECK(rp_frame_response(NULL, NULL, 0, &frame) == RP_STATUS_NULL_POINTER);
    CHECK(rp_frame_response(&frame, NULL, 0, NULL) == RP_STATUS_NULL_POINTER);
    CHECK(rp_frame_encode(NULL, out, sizeof out, &length) == RP_STATUS_NULL_POINTER);
    CHECK(rp_frame_encode(&frame, NULL, sizeof out, &length) == RP_STATUS_NULL_POINTER);
    CHECK(rp_frame_encode(&frame, out, sizeof out, NULL) == RP_STATUS_NULL_POINTER);
    CHECK(rp_frame_encode_around(&frame, out, sizeof out, NULL, &length) == RP_STATUS_NULL_POINTER);
    frame.traceparent = (rp_bytes){ (const uint8_t *)"\xc3", 1 };
    CHECK(rp_frame_encode(&frame, out, sizeof out, &length) == RP_STATUS_NOT_UTF8);
    frame.traceparent = (rp_bytes){ NULL, 1 };
    CHECK(rp_frame_encode(&frame, out, sizeof out, &length) == RP_STATUS_NULL_POINTER);
    frame.traceparent.length = 0;
    CHECK(rp_mux_poll(NULL, out, 0, &poll) == RP_STATUS_NULL_POINTER && poll.verdict == RP_VERDICT_ERROR);
    CHECK(rp_mux_poll(mux, out, 0, NULL) == RP_STATUS_NULL_POINTER);
    CHECK(rp_mux_poll(mux, NULL, 1, &poll) == RP_STATUS_NULL_POINTER && poll.verdict == RP_VERDICT_ERROR);
    CHECK(rp_mux_poll(mux, NULL, 0, &poll) == RP_STATUS_OK && poll.verdict == RP_VERDICT_NEED_MORE_BYTES);
    CHECK(rp_mux_answer(mux, &poll, out, sizeof out, &length) == RP_STATUS_MALFORMED_PROBE);
    CHECK(rp_mux_answer(mux, NULL, out, sizeof out, &length) == RP_STATUS_NULL_POINTER);
    CHECK(rp_mux_new(NULL, served, 1, NULL, NULL, &made) == RP_STATUS_NULL_POINTER);
    CHECK(rp_mux_new(identity, NULL, 1, NULL, NULL, &made) == RP_STATUS_NULL_POINTER);
    CHECK(rp_mux_new(identity, served, 1, NULL, NULL, NULL) == RP_STATUS_NULL_POINTER);
    CHECK(rp_mux_new(identity, served, SIZE_MAX / 2, NULL, NULL, &made) == RP_STATUS_INVALID_ARGUMENT);
    CHECK(rp_mux_new(identity, (const uint32_t *)(const void *)(out + 1 + ((uintptr_t)out & 1)), 1, NULL, NULL, &made) ==
          RP_STATUS_INVALID_ARGUMENT);
    CHECK(rp_refusal_encode(&frame, NULL, out, sizeof out, &length) == RP_STATUS_NULL_POINTER);
    refusal.reason = 0;
    CHECK(rp_refusal_encode(&frame, &refusal, out, sizeof out, &length) == RP_STATUS_INVALID_ARGUMENT);
    refusal.reason = 10;
    CHECK(rp_refusal_encode(&frame, &refusal, out, sizeof out, &length) == RP_STATUS_INVALID_ARGUMENT);
    CHECK(rp_identity_encode(identity, out, 3, &length) == RP_STATUS_BUFFER_TOO_SMALL && length > 3);
    CHECK(rp_identity_file_write(NULL, identity, NULL, 0) == RP_STATUS_NULL_POINTER);
    char reason[256] = "";
    CHECK(rp_identity_file_write("/nonexistent/identity.json", identity, reason, sizeof reason) == RP_STATUS_SYSTEM);
    CHECK(strlen(reason) > 0);
    CHECK(strcmp(rp_status_message(RP_STATUS_UNSERVED), "the payload protocol is not served by this daemon") == 0);
    CHECK(strcmp(rp_status_message(-1), "unknown status") == 0);
    rp_mux_free(NULL);
    rp_identity_free(NULL);
}

/* The refusal of docs/wire.md, which no encoder here has made. */
static void check_documented_bytes(void)
{
    static const uint8_t recorded[] = { 1, 0x0b, 0, 0, 0, 8, 1, 0x10, 1, 0x22, 3, 0xc0, 0x3e, 1, 0x28, 1 };
    rp_frame request = { .envelope_version = 1, .payload_protocol = 0x7A63, .request_id = 1 };
    rp_refusal refusal = { .reason = RP_REASON_OVERLOADED };
    uint8_t out[64];
    size_t length;
    CHECK(rp_refusal_encode(&request, &refusal, out, sizeof out, &length) == RP_STATUS_OK);
    CHECK(length == sizeof recorded && memcmp(out, recorded, length) == 0);
}

int main(int count, char **arguments)
{
    uint64_t rounds = count > 1 ? strtoull(arguments[1], NULL, 10) : 200000;
    state = count > 2 ? strtoull(arguments[2], NULL, 10) : (uint64_t)getpid() * 2654435761u;
    printf("hostile: %" PRIu64 " rounds, seed %" PRIu64 "\n", rounds, state);

    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *room = mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(room != MAP_FAILED);
    fence = room + ROOM;
    CHECK(mprotect(fence, page, PROT_NONE) == 0);

    rp_identity *identity = new_identity();
    const uint32_t served[] = { SERVED, 0xB232 }; /* a first-party one has no effect */
    uint64_t detections = 0;
    rp_mux *made = NULL;
    CHECK(rp_mux_new(identity, served, 2, detect, &detections, &made) == RP_STATUS_OK);
    mux = made;
    check_wrong_arguments(identity);
    check_documented_bytes();

    /* Valid messages: a request with everything, a probe, a cancel of the control protocol, an empty frame, an identity. */
    static uint8_t valid[5][2048];
    size_t lengths[5];
    uint8_t payload[300], nonce[32];
    for (size_t at = 0; at < sizeof payload; at++) payload[at] = (uint8_t)random_number();
    memcpy(nonce, payload, sizeof nonce);
    rp_frame request = {
        .envelope_version = 1, .payload_protocol = SERVED, .payload_encoding = 3, .request_id = UINT64_MAX,
        .deadline_unix_ms = 1795339405167, .accepted_encodings = 15, .descriptors = 2, .accepted_descriptors = 16,
        .payload_is_file = 1, .payload = { payload, sizeof payload },
        .traceparent = text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), .tracestate = text("vendor=1"),
    };
    rp_frame probe = { .envelope_version = 1, .payload_protocol = 0xB232, .request_id = 7, .payload = { nonce, 32 } };
    rp_frame cancel = { .envelope_version = 1, .kind = RP_KIND_CANCEL, .request_id = 7 };
    rp_frame empty = { .envelope_version = 0 };
    const rp_frame *frames[] = { &request, &probe, &cancel, &empty };
    for (int at = 0; at < 4; at++)
        CHECK(rp_frame_encode(frames[at], valid[at], sizeof valid[at], &lengths[at]) == RP_STATUS_OK);
    CHECK(rp_identity_encode(identity, valid[4], sizeof valid[4], &lengths[4]) == RP_STATUS_OK);

    for (int at = 0; at < 5; at++)
        for (size_t length = 0; length <= lengths[at]; length++)
            CHECK(examine(valid[at], length) == (at < 4 && length == lengths[at]));

    uint64_t whole = 0;
    static uint8_t bytes[4096];
    for (uint64_t round = 0; round < rounds; round++) {
        size_t length;
        if (round % 3 == 0) { /* random bytes, often behind a header that fits them */
            length = random_number() % 200;
            for (size_t at = 0; at < length; at++) bytes[at] = (uint8_t)random_number();
            if (length >= 5 && round % 2 == 0) memcpy(bytes, (uint8_t[]){ 1, (uint8_t)(length - 5), 0, 0, 0 }, 5);
        } else { /* a valid message with a few changed bytes, and often another one behind it */
            int chosen = (int)(random_number() % 5);
            length = lengths[chosen];
            memcpy(bytes, valid[chosen], length);
            for (uint64_t changes = random_number() % 4; changes > 0; changes--)
                bytes[random_number() % length] = (uint8_t)random_number();
            if (round % 2 == 0) {
                chosen = (int)(random_number() % 5);
                memcpy(bytes + length, valid[chosen], lengths[chosen]);
                length += lengths[chosen];
            }
            if (random_number() % 4 == 0) length = random_number() % (length + 1);
        }
        whole += examine(bytes, length);
    }
    CHECK(whole > rounds / 10);
    CHECK(detections > rounds / 2);
    rp_mux_free(made);
    rp_identity_free(identity);
    printf("hostile: %" PRIu64 " inputs began with a frame\n", whole);
    return 0;
}
