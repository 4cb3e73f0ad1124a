/*
 * The C interface of running-process. Generated from crates/running-process-ffi; docs/c.md is its manual.
 * Functions below RP_HOST are in libraries that were built with the feature `host`.
 */

#ifndef RUNNING_PROCESS_H
#define RUNNING_PROCESS_H

#include <stddef.h>
#include <stdint.h>

// The version of this interface. It changes with every change that a compiled program would notice.
#define RP_ABI_VERSION 1

// The most bytes of a frame in front of and behind its payload, without the trace context.
#define RP_FRAME_OVERHEAD 96

// The length of the largest frame, header included, in bytes.
#define RP_MAX_FRAME 16777221

// The most bytes of a refusal, without the trace context of the request and the message.
#define RP_REFUSAL_OVERHEAD 128

// The outcome of a function. Everything but `RP_STATUS_OK` is a failure, and has changed nothing unless the function says so.
enum rp_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The function has done its work.
    RP_STATUS_OK = 0,
    // A pointer is null that may not be.
    RP_STATUS_NULL_POINTER = 1,
    // An argument is out of its range, or a pointer is not aligned.
    RP_STATUS_INVALID_ARGUMENT = 2,
    // The output does not fit the given memory; the needed length was stored.
    RP_STATUS_BUFFER_TOO_SMALL = 3,
    // A text is not UTF-8.
    RP_STATUS_NOT_UTF8 = 4,
    // A panic was caught: a bug of the library.
    RP_STATUS_PANIC = 5,
    // The first byte is not the framing byte 1. Fatal to the connection.
    RP_STATUS_FRAMING_VERSION = 10,
    // The body of the frame is above 16 MiB. Fatal to the connection.
    RP_STATUS_FRAME_TOO_LARGE = 11,
    // The body is not a protobuf `Frame`. Fatal to the connection.
    RP_STATUS_NOT_A_FRAME = 12,
    // The frame has the protocol of identity probes and is not a valid one. Fatal to the connection.
    RP_STATUS_MALFORMED_PROBE = 13,
    // The payload protocol belongs to the wire itself. Fatal to the connection; the frame was stored.
    RP_STATUS_FIRST_PARTY = 14,
    // The payload protocol is not served. Fatal to the connection; the frame was stored.
    RP_STATUS_UNSERVED = 15,
    // The frame has another envelope version than 1.
    RP_STATUS_ENVELOPE_VERSION = 20,
    // The kind of the frame is none of `rp_kind`.
    RP_STATUS_UNKNOWN_KIND = 21,
    // The encoding of the payload is unknown.
    RP_STATUS_UNKNOWN_ENCODING = 22,
    // The encoding of the payload is known, and not among the accepted ones.
    RP_STATUS_UNSUPPORTED_ENCODING = 23,
    // The bytes or fields are no identity.
    RP_STATUS_IDENTITY = 30,
    // The operating system refused; only with the feature `host`.
    RP_STATUS_SYSTEM = 31,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rp_status rp_status;
#else
typedef int32_t rp_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The meaning of the start of a buffer.
enum rp_verdict
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The bytes do not decide it yet. Read more, and poll the whole buffer again.
    RP_VERDICT_NEED_MORE_BYTES = 0,
    // The connection speaks the legacy wire: give it with the whole buffer to the old protocol loop.
    RP_VERDICT_LEGACY = 1,
    // An identity probe: write the bytes of `rp_mux_answer`, drop `consumed` bytes, poll the rest.
    RP_VERDICT_PROBE = 2,
    // A frame for the daemon, of any kind: serve it, drop `consumed` bytes, poll the rest.
    RP_VERDICT_FRAME = 3,
    // The connection cannot go on; the status says why.
    RP_VERDICT_ERROR = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rp_verdict rp_verdict;
#else
typedef int32_t rp_verdict;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The kinds of frames.
enum rp_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // A request.
    RP_KIND_REQUEST = 0,
    // The response to a request.
    RP_KIND_RESPONSE = 1,
    // An event; of a request if it has its id.
    RP_KIND_EVENT = 2,
    // The client no longer waits for the request of this id.
    RP_KIND_CANCEL = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rp_kind rp_kind;
#else
typedef int32_t rp_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The reasons of refusals.
enum rp_reason
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // No capacity now. The request has not run.
    RP_REASON_OVERLOADED = 1,
    // The deadline of the request passed before it was answered.
    RP_REASON_DEADLINE_PASSED = 2,
    // The request was cancelled.
    RP_REASON_CANCELLED = 3,
    // The payload protocol is not served. The request has not run.
    RP_REASON_UNSERVED_PROTOCOL = 4,
    // The encoding of the payload cannot be decoded. The request has not run.
    RP_REASON_BAD_ENCODING = 5,
    // This user or process is not served. The request has not run.
    RP_REASON_NOT_AUTHORIZED = 6,
    // The handler failed.
    RP_REASON_HANDLER_FAILED = 7,
    // The daemon is ending. The request has not run.
    RP_REASON_SHUTTING_DOWN = 8,
    // The answer does not fit a frame. The request has run.
    RP_REASON_ANSWER_TOO_LARGE = 9,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rp_reason rp_reason;
#else
typedef int32_t rp_reason;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The verdict of a daemon's detector.
enum rp_legacy
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The bytes are not the legacy wire: the mux looks for a frame.
    RP_LEGACY_NO = 0,
    // The bytes are the legacy wire.
    RP_LEGACY_YES = 1,
    // Too few bytes to tell.
    RP_LEGACY_NEED_MORE_BYTES = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rp_legacy rp_legacy;
#else
typedef int32_t rp_legacy;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The identity of a daemon, which `rp_identity_free` frees.
typedef struct rp_identity rp_identity;

// Tells a daemon's three kinds of traffic apart. It is immutable: all connections of a daemon share one, from any thread.
typedef struct rp_mux rp_mux;

// Bytes that belong to someone else: in input the caller's, in a decoded frame those of the buffer that was decoded.
typedef struct rp_bytes {
    // The first byte. May be null if `length` is 0.
    const uint8_t *data;
    // The number of bytes.
    size_t length;
} rp_bytes;

// A frame. Decoded, its pointers lead into the buffer that was decoded. To encode one, fill it with zeros, set
// `envelope_version` to 1 and then what the frame has, or begin with `rp_frame_response`.
typedef struct rp_frame {
    // The version of the envelope: 1.
    uint32_t envelope_version;
    // A `rp_kind`; in a received frame any number.
    int32_t kind;
    // The protocol of the payload.
    uint32_t payload_protocol;
    // The encoding of the payload: 0 none, 1 Zstandard, 2 Snappy, 3 LZ4.
    int32_t payload_encoding;
    // The id that the requester chose.
    uint64_t request_id;
    // The answer is of no use after it, in milliseconds since 1970; 0 is none.
    uint64_t deadline_unix_ms;
    // The encodings that the sender decodes: bit n is the encoding n; bit 0: it wants notices.
    uint32_t accepted_encodings;
    // The number of descriptors that come with the frame.
    uint8_t descriptors;
    // The most descriptors that the sender takes with one frame.
    uint8_t accepted_descriptors;
    // 1 if the payload is the content of the only descriptor, else 0.
    uint8_t payload_is_file;
    // The payload.
    struct rp_bytes payload;
    // W3C Trace Context `traceparent`, UTF-8, not NUL-terminated. A received one may be longer than the 55 bytes of that standard.
    struct rp_bytes traceparent;
    // W3C Trace Context `tracestate`, as `traceparent`; 512 bytes in that standard.
    struct rp_bytes tracestate;
} rp_frame;

// The fields of an identity. Fill it with zeros and set what the daemon knows; texts are UTF-8 and not NUL-terminated.
typedef struct rp_identity_fields {
    // The process id, as the daemon itself sees it.
    uint32_t pid;
    // The path of the executable.
    struct rp_bytes exe_path;
    // The SHA-256 of the executable, 32 bytes; null or zeros if it is not known. One digest is needed; peers of the first
    // published generation read only this one.
    const uint8_t *exe_sha256;
    // The BLAKE3 of the executable, 32 bytes; null or zeros if it is not known. Peers of the second published generation read
    // only this one.
    const uint8_t *exe_blake3;
    // The boot of the machine: on Linux the text of `/proc/sys/kernel/random/boot_id` without the line break.
    struct rp_bytes boot_id;
    // The namespace of the endpoint: any text.
    struct rp_bytes namespace_id;
    // The endpoint: the absolute path of the socket, or on Windows the bare name of the pipe.
    struct rp_bytes endpoint_path;
    // The time at which the identity was made, in milliseconds since 1970.
    uint64_t started_at_unix_ms;
    // 1 if `idle_timeout_secs` counts, else 0.
    uint8_t has_idle_timeout;
    // Seconds without work after which the daemon ends.
    uint32_t idle_timeout_secs;
    // A random id of this run, 16 bytes; null if there is none. With it `start_time` counts, and both make the proof stronger.
    const uint8_t *instance_id;
    // The time at which the kernel started the process: on Linux `starttime` of `proc_pid_stat(5)`.
    uint64_t start_time;
    // 1 if `pid_namespace` counts, else 0.
    uint8_t has_pid_namespace;
    // On Linux the inode of `/proc/self/ns/pid`.
    uint64_t pid_namespace;
    // 1 if another process made the listening socket, else 0.
    uint8_t inherited_listener;
    // The version of the daemon, at most 128 bytes; may be empty.
    struct rp_bytes version;
    // The build of that version, at most 128 bytes; may be empty.
    struct rp_bytes build;
} rp_identity_fields;

// Recognizes the daemon's legacy wire in everything that a connection has sent and that was not consumed: at least one byte.
// Returns a `rp_legacy`; any other number counts as `RP_LEGACY_NO`. It must depend on the bytes alone, and must not unwind or
// jump out. Threads that share the mux call it at once.
typedef int32_t (*rp_detector)(void *context, const uint8_t *data, size_t length);

// The outcome of a poll.
typedef struct rp_poll {
    // The meaning of the bytes.
    rp_verdict verdict;
    // The bytes that the probe or frame takes, at most those of the buffer; else 0.
    size_t consumed;
    // The probe or frame, whose pointers lead into the buffer. Also stored with `RP_STATUS_FIRST_PARTY` and
    // `RP_STATUS_UNSERVED`, so that the request can be refused before the connection ends.
    struct rp_frame frame;
} rp_poll;

// A refusal.
typedef struct rp_refusal {
    // A `rp_reason`.
    int32_t reason;
    // 1 if `retry_after_ms` is a hint, else 0.
    uint8_t has_retry_after;
    // The same request may be served after so many milliseconds.
    uint32_t retry_after_ms;
    // One line for people, in UTF-8, not NUL-terminated; may be empty.
    struct rp_bytes message;
} rp_refusal;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the version of the interface that the library was built with. A program compares it with `RP_ABI_VERSION` of its
// header when it starts.
uint32_t rp_abi_version(void);

// Decodes the frame at the start of `data`, and stores it and the bytes that it takes. Stores 0 in `consumed`, and no frame,
// while the frame is incomplete. A daemon calls `rp_mux_poll` instead.
//
// # Safety
//
// `data` points to `length` readable bytes, and `frame` and `consumed` to memory that may be written. The frame is valid as long
// as the bytes are unchanged.
rp_status rp_frame_decode(const uint8_t *data,
                          size_t length,
                          struct rp_frame *frame,
                          size_t *consumed);

// Checks a received frame as a strict receiver: envelope version, kind, encoding, in this order. A server ends the connection at
// the first two, and refuses a request for the third. `accepted_encodings` has bit n for the encoding n; 0 if the daemon decodes
// none.
//
// # Safety
//
// `frame` points to a frame.
rp_status rp_frame_check(const struct rp_frame *frame,
                         uint32_t accepted_encodings);

// Stores in `response` the response to `request` with a payload: the same protocol, request id and trace context, which it
// borrows. Change its `kind` to `RP_KIND_EVENT` for an event of the request.
//
// A peer chooses the length of the trace context, which comes back to it: drop what is longer than the standard allows.
//
// # Safety
//
// `request` points to a frame, and `response` to memory that may be written. Both may be the same. The payload is not read.
rp_status rp_frame_response(const struct rp_frame *request,
                            const uint8_t *payload,
                            size_t payload_length,
                            struct rp_frame *response);

// Writes a whole frame, header included, and stores its length.
//
// # Safety
//
// `frame` points to a frame whose pointers are those of readable bytes, `out` to `capacity` writable bytes apart from them, and
// `length` to memory that may be written. `out` may be null if `capacity` is 0.
rp_status rp_frame_encode(const struct rp_frame *frame,
                          uint8_t *out,
                          size_t capacity,
                          size_t *length);

// Writes a frame without its payload, for a caller that writes the payload from its own place. Stores in `before` how many of
// the bytes go out before the payload; the rest follows it. `RP_FRAME_OVERHEAD` and the length of the trace context are always
// enough. Of the payload only the length counts.
//
// # Safety
//
// As `rp_frame_encode`; `before` points to memory that may be written.
rp_status rp_frame_encode_around(const struct rp_frame *frame,
                                 uint8_t *out,
                                 size_t capacity,
                                 size_t *before,
                                 size_t *length);

#if defined(RP_HOST)
// Makes the identity of this process, which listens at `endpoint_path`, and stores it: process, executable and its digests, boot,
// start time, instance. It reads the executable, so a daemon calls it once, before it serves. `idle_timeout_secs` is null if the
// daemon does not end by itself. The message is as that of `rp_identity_new`.
//
// # Safety
//
// The bytes are readable and UTF-8, `idle_timeout_secs` is null or points to a number, `identity` points to memory that may be
// written, and `message` to `message_capacity` writable bytes.
rp_status rp_identity_observe(struct rp_bytes namespace_id,
                              struct rp_bytes endpoint_path,
                              const uint32_t *idle_timeout_secs,
                              struct rp_identity **identity,
                              char *message,
                              size_t message_capacity);
#endif

#if defined(RP_HOST)
// Writes the identity file of a daemon, by which clients find it, readable by this user alone. It replaces neither a file that is
// no identity file of this user nor one of a daemon that runs at another endpoint. `path` is NUL-terminated, on Unix any bytes. The
// message is as that of `rp_identity_new`.
//
// # Safety
//
// `path` is NUL-terminated, `identity` one of this library, and `message` points to `message_capacity` writable bytes.
rp_status rp_identity_file_write(const char *path,
                                 const struct rp_identity *identity,
                                 char *message,
                                 size_t message_capacity);
#endif

#if defined(RP_HOST)
// Removes the identity file at `path`, if there is one of this user. The message is as that of `rp_identity_new`.
//
// # Safety
//
// `path` is NUL-terminated, and `message` points to `message_capacity` writable bytes.
rp_status rp_identity_file_remove(const char *path, char *message, size_t message_capacity);
#endif

// Makes an identity of fields, and stores it. If that fails, `message` gets the reason as NUL-terminated text, cut to
// `message_capacity` bytes; it may be null.
//
// # Safety
//
// `fields` points to fields whose pointers are null or those of readable bytes, `identity` to memory that may be written, and
// `message` to `message_capacity` writable bytes.
rp_status rp_identity_new(const struct rp_identity_fields *fields,
                          struct rp_identity **identity,
                          char *message,
                          size_t message_capacity);

// Decodes an identity from the bytes that a probe is answered with, behind the nonce, and stores it. The message is as that of
// `rp_identity_new`.
//
// # Safety
//
// `data` points to `length` readable bytes; the rest as `rp_identity_new`.
rp_status rp_identity_decode(const uint8_t *data,
                             size_t length,
                             struct rp_identity **identity,
                             char *message,
                             size_t message_capacity);

// Writes an identity as probes are answered with it, and stores its length.
//
// # Safety
//
// `identity` is one of this library, `out` points to `capacity` writable bytes and may be null if `capacity` is 0, and `length`
// points to memory that may be written.
rp_status rp_identity_encode(const struct rp_identity *identity,
                             uint8_t *out,
                             size_t capacity,
                             size_t *length);

// Frees an identity; null is ignored.
//
// # Safety
//
// `identity` is null or one of this library that was not freed.
void rp_identity_free(struct rp_identity *identity);

// Makes a mux for the daemon of `identity`, of which it keeps a copy, and stores it. `served` are the payload protocols of the
// daemon. Without a detector the bytes are legacy if the first of them is not 1.
//
// # Safety
//
// `identity` is one of this library, `served` points to `served_length` ids, and `mux` to memory that may be written. The
// detector may be called with `context` until the mux is freed, by each thread that polls it.
rp_status rp_mux_new(const struct rp_identity *identity,
                     const uint32_t *served,
                     size_t served_length,
                     rp_detector detector,
                     void *context,
                     struct rp_mux **mux);

// Frees a mux; null is ignored.
//
// # Safety
//
// `mux` is null or one of `rp_mux_new` that was not freed, and nothing uses it any more.
void rp_mux_free(struct rp_mux *mux);

// Classifies everything that a connection has sent and that was not consumed yet. Nothing is read, written, kept or consumed,
// and the outcome is the same however the bytes were cut into reads. A failure ends the connection, and only it.
//
// # Safety
//
// `mux` is one of `rp_mux_new`, `data` points to `length` readable bytes, and `poll` to memory that may be written. What is
// stored there is valid as long as the bytes are unchanged.
rp_status rp_mux_poll(const struct rp_mux *mux,
                      const uint8_t *data,
                      size_t length,
                      struct rp_poll *poll);

// Classifies as `rp_mux_poll` does, for a connection on which a frame has arrived: the detector is not asked, and a first byte
// that is not 1 is an error. The verdict is never `RP_VERDICT_LEGACY`.
//
// # Safety
//
// As `rp_mux_poll`.
rp_status rp_mux_poll_framed(const struct rp_mux *mux,
                             const uint8_t *data,
                             size_t length,
                             struct rp_poll *poll);

// Writes the framed answer to a probe, ready to be sent, and stores its length: the nonce and the identity of the daemon.
// Measure it with `capacity` 0; it differs by the trace context of the probe alone.
//
// # Safety
//
// `mux` is one of `rp_mux_new`. `poll` is the outcome of a poll whose verdict is `RP_VERDICT_PROBE`, and its buffer is unchanged.
// `out` points to `capacity` writable bytes apart from that buffer, and may be null if `capacity` is 0. `length` points to memory
// that may be written.
rp_status rp_mux_answer(const struct rp_mux *mux,
                        const struct rp_poll *poll,
                        uint8_t *out,
                        size_t capacity,
                        size_t *length);

// Writes the frame that refuses `request`, and stores its length. `RP_REFUSAL_OVERHEAD`, the length of the message and that of
// the request's trace context are always enough.
//
// # Safety
//
// `request` and `refusal` point to values whose pointers are those of readable bytes; the request's payload is not read. `out`
// points to `capacity` writable bytes apart from them, and may be null if `capacity` is 0. `length` points to memory that may be
// written.
rp_status rp_refusal_encode(const struct rp_frame *request,
                            const struct rp_refusal *refusal,
                            uint8_t *out,
                            size_t capacity,
                            size_t *length);

// Returns the text of a status: static, NUL-terminated, without a line break. A number that is no status has a text, too.
const char *rp_status_message(int32_t status);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RUNNING_PROCESS_H */
