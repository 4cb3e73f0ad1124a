/*
 * A daemon in C with an event loop of its own, which adopts the mux: old clients, probes and framed requests on one socket.
 *
 *   adopt SOCKET IDENTITY_FILE [PROTOCOL]
 *
 * One thread and poll(2) serve all connections. The old wire is a line of text that is answered in capitals. The framed requests
 * are those of the conformance protocol in docs/wire.md. Memory is bounded: by connection, by request and in all.
 */
#define _GNU_SOURCE
#define RP_HOST
#include "running_process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 256,
    MAX_WAITS = 64,               /* requests of one connection that are not answered at once */
    MAX_LINE = 4096,              /* of the old wire */
    MAX_OUTPUT = 256 * 1024,      /* unread by one peer; then its next requests wait */
    MAX_MEMORY = 256 * 1024 * 1024, /* of all buffers */
    SMALL_PAYLOAD = 16 * 1024,    /* copied: that costs less than a slice of its own */
    MAX_NAMES = 1024,             /* of waiting requests that are remembered */
    MAX_NAME = 64,
    MAX_TRACEPARENT = 55,         /* W3C Trace Context */
    MAX_TRACESTATE = 512,
    FIRST_MESSAGE_MS = 10000,
    MESSAGE_MS = 30000,
    WRITE_MS = 30000
};

/* Bytes from `start` to `end` of the memory at `data`. */
struct buffer {
    uint8_t *data;
    size_t start, end, capacity;
};

/* A request that waits for its cancel or its deadline. */
struct wait {
    struct wait *next;
    uint64_t request_id, deadline_unix_ms;
    size_t name; /* index in `names` */
    uint32_t traceparent_length, tracestate_length;
    uint8_t trace[]; /* both, one after the other */
};

struct connection {
    int socket;
    struct buffer in, out;
    struct wait *waits;
    size_t waiting;
    enum { UNDECIDED, FRAMED, LEGACY } wire;
    bool has_spoken;  /* a first message was complete */
    bool has_ended;   /* the peer sends no more */
    bool is_closing;  /* ends when its output is written */
    bool is_broken;   /* ends now */
    uint64_t since;   /* the first message was awaited, or an incomplete one began */
    uint64_t blocked; /* the last write made progress; 0 if no output waits */
};

enum name_state { FREE, WAITING, CANCELLED };

static struct connection connections[MAX_CONNECTIONS];
static size_t connected;
static size_t memory;
static struct { enum name_state state; size_t length; char text[MAX_NAME]; } names[MAX_NAMES];
static size_t next_name;
static rp_mux *mux;
static int stop_pipe[2];

static uint64_t milliseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- Buffers --- */

static size_t length_of(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static void release(struct buffer *buffer)
{
    free(buffer->data);
    memory -= buffer->capacity;
    memset(buffer, 0, sizeof *buffer);
}

/* Makes room for `more` bytes; returns false if that is too much memory. */
static bool reserve(struct buffer *buffer, size_t more)
{
    size_t length = length_of(buffer);
    if (buffer->capacity - buffer->end >= more) return true;
    if (buffer->start > 0) {
        memmove(buffer->data, buffer->data + buffer->start, length);
        buffer->start = 0;
        buffer->end = length;
        if (buffer->capacity - buffer->end >= more) return true;
    }
    size_t capacity = buffer->capacity * 2 > length + more ? buffer->capacity * 2 : length + more;
    if (capacity - buffer->capacity > MAX_MEMORY - memory) return false;
    uint8_t *data = realloc(buffer->data, capacity);
    if (!data) return false;
    memory += capacity - buffer->capacity;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

static void consume(struct buffer *buffer, size_t length)
{
    buffer->start += length;
    if (buffer->start == buffer->end) {
        buffer->start = buffer->end = 0;
        if (buffer->capacity > 64 * 1024) release(buffer);
    }
}

/* --- Output --- */

static void append(struct connection *connection, const uint8_t *data, size_t length)
{
    if (length == 0) return;
    if (!reserve(&connection->out, length)) {
        connection->is_broken = true;
        return;
    }
    memcpy(connection->out.data + connection->out.end, data, length);
    connection->out.end += length;
}

/* Writes what the socket takes of `count` pieces, and returns its length. */
static size_t write_some(struct connection *connection, struct iovec *pieces, size_t count)
{
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = count };
    ssize_t written;
    do written = sendmsg(connection->socket, &message, MSG_NOSIGNAL); while (written < 0 && errno == EINTR);
    if (written >= 0) return (size_t)written;
    if (errno != EAGAIN && errno != EWOULDBLOCK) connection->is_broken = true;
    return 0;
}

static void flush(struct connection *connection)
{
    struct buffer *out = &connection->out;
    while (length_of(out) > 0 && !connection->is_broken) {
        struct iovec piece = { out->data + out->start, length_of(out) };
        size_t written = write_some(connection, &piece, 1);
        uint64_t now = milliseconds(CLOCK_MONOTONIC);
        if (written > 0 || connection->blocked == 0) connection->blocked = now;
        if (written == 0) return;
        consume(out, written);
    }
    connection->blocked = 0;
}

/* Sends a frame: a small payload behind the output that waits, a large one from its own place. */
static void send_frame(struct connection *connection, const rp_frame *frame)
{
    uint8_t around[RP_FRAME_OVERHEAD + MAX_TRACEPARENT + MAX_TRACESTATE];
    size_t before, length;
    rp_status status = rp_frame_encode_around(frame, around, sizeof around, &before, &length);
    if (status != RP_STATUS_OK) {
        fprintf(stderr, "adopt: a frame was not sent: %s\n", rp_status_message(status));
        connection->is_broken = true;
        return;
    }
    size_t written = 0;
    if (frame->payload.length >= SMALL_PAYLOAD) {
        flush(connection);
        if (length_of(&connection->out) == 0 && !connection->is_broken) {
            struct iovec pieces[] = {
                { around, before },
                { (void *)(uintptr_t)frame->payload.data, frame->payload.length },
                { around + before, length - before },
            };
            written = write_some(connection, pieces, 3);
        }
    }
    const rp_bytes pieces[] = { { around, before }, frame->payload, { around + before, length - before } };
    for (int piece = 0; piece < 3; piece++) {
        size_t skipped = written < pieces[piece].length ? written : pieces[piece].length;
        written -= skipped;
        if (pieces[piece].length > skipped)
            append(connection, pieces[piece].data + skipped, pieces[piece].length - skipped);
    }
}

static void respond(struct connection *connection, const rp_frame *request, const void *payload, size_t length, int32_t kind)
{
    rp_frame response;
    rp_frame_response(request, payload, length, &response);
    response.kind = kind;
    send_frame(connection, &response);
}

static void refuse(struct connection *connection, const rp_frame *request, int32_t reason, rp_bytes message)
{
    uint8_t out[RP_REFUSAL_OVERHEAD + MAX_TRACEPARENT + MAX_TRACESTATE + MAX_LINE];
    rp_refusal refusal = { .reason = reason, .message = message };
    size_t length;
    rp_status status = rp_refusal_encode(request, &refusal, out, sizeof out, &length);
    if (status == RP_STATUS_NOT_UTF8 || status == RP_STATUS_BUFFER_TOO_SMALL) {
        refusal.message.length = 0;
        status = rp_refusal_encode(request, &refusal, out, sizeof out, &length);
    }
    if (status == RP_STATUS_OK) append(connection, out, length);
    else connection->is_broken = true;
}

static void refuse_text(struct connection *connection, const rp_frame *request, int32_t reason, const char *message)
{
    refuse(connection, request, reason, (rp_bytes){ (const uint8_t *)message, strlen(message) });
}

/* --- Requests that wait --- */

/* Takes the wait at `link` out of its list, refuses its request and frees it. */
static void end_wait(struct connection *connection, struct wait **link, int32_t reason, const char *message)
{
    struct wait *wait = *link;
    rp_frame request = {
        .envelope_version = 1,
        .request_id = wait->request_id,
        .traceparent = { wait->trace, wait->traceparent_length },
        .tracestate = { wait->trace + wait->traceparent_length, wait->tracestate_length },
    };
    refuse_text(connection, &request, reason, message);
    *link = wait->next;
    names[wait->name].state = CANCELLED;
    free(wait);
    connection->waiting--;
}

static void cancel(struct connection *connection, uint64_t request_id)
{
    for (struct wait **link = &connection->waits; *link; link = &(*link)->next) {
        if ((*link)->request_id != request_id) continue;
        end_wait(connection, link, RP_REASON_CANCELLED, "");
        return;
    }
}

static void end_late_waits(struct connection *connection)
{
    uint64_t now = milliseconds(CLOCK_REALTIME);
    struct wait **link = &connection->waits;
    while (*link) {
        uint64_t deadline = (*link)->deadline_unix_ms;
        if (deadline != 0 && deadline <= now) end_wait(connection, link, RP_REASON_DEADLINE_PASSED, "");
        else link = &(*link)->next;
    }
}

static void begin_wait(struct connection *connection, const rp_frame *request, rp_bytes name)
{
    size_t slot = next_name;
    for (size_t tried = 0; names[slot].state == WAITING && tried < MAX_NAMES; tried++) slot = (slot + 1) % MAX_NAMES;
    if (connection->waiting == MAX_WAITS || names[slot].state == WAITING) {
        refuse_text(connection, request, RP_REASON_OVERLOADED, "too many requests wait");
        return;
    }
    if (name.length > MAX_NAME) {
        refuse_text(connection, request, RP_REASON_HANDLER_FAILED, "a name has at most 64 bytes");
        return;
    }
    struct wait *wait = malloc(sizeof *wait + request->traceparent.length + request->tracestate.length);
    if (!wait) {
        refuse_text(connection, request, RP_REASON_OVERLOADED, "out of memory");
        return;
    }
    next_name = (slot + 1) % MAX_NAMES;
    names[slot].state = WAITING;
    names[slot].length = name.length;
    if (name.length > 0) memcpy(names[slot].text, name.data, name.length);
    wait->request_id = request->request_id;
    wait->deadline_unix_ms = request->deadline_unix_ms;
    wait->name = slot;
    wait->traceparent_length = (uint32_t)request->traceparent.length;
    wait->tracestate_length = (uint32_t)request->tracestate.length;
    if (wait->traceparent_length > 0) memcpy(wait->trace, request->traceparent.data, wait->traceparent_length);
    if (wait->tracestate_length > 0)
        memcpy(wait->trace + wait->traceparent_length, request->tracestate.data, wait->tracestate_length);
    wait->next = connection->waits;
    connection->waits = wait;
    connection->waiting++;
}

static const char *state_of(rp_bytes name)
{
    /* The latest one of this name. */
    for (size_t back = 1; back <= MAX_NAMES; back++) {
        size_t slot = (next_name + MAX_NAMES - back) % MAX_NAMES;
        if (names[slot].state == FREE || names[slot].length != name.length) continue;
        if (name.length > 0 && memcmp(names[slot].text, name.data, name.length) != 0) continue;
        return names[slot].state == WAITING ? "waiting" : "cancelled";
    }
    return "unknown";
}

/* --- The daemon's requests --- */

static void send_events(struct connection *connection, const rp_frame *request, rp_bytes argument)
{
    size_t count = 0;
    bool valid = argument.length > 0 && argument.length <= 5;
    for (size_t digit = 0; valid && digit < argument.length; digit++) {
        valid = argument.data[digit] >= '0' && argument.data[digit] <= '9';
        count = count * 10 + (size_t)(argument.data[digit] - '0');
    }
    if (!valid || count > 10000) {
        refuse_text(connection, request, RP_REASON_HANDLER_FAILED, "the number of events is 0 to 10000");
        return;
    }
    char number[24];
    for (size_t event = 0; event < count && !connection->is_broken; event++) {
        int length = snprintf(number, sizeof number, "%zu", event);
        respond(connection, request, number, (size_t)length, RP_KIND_EVENT);
    }
    int length = snprintf(number, sizeof number, "%zu", count);
    respond(connection, request, number, (size_t)length, RP_KIND_RESPONSE);
}

static void serve(struct connection *connection, const rp_frame *request)
{
    rp_bytes command = request->payload, argument = { NULL, 0 };
    const uint8_t *space = command.length > 0 ? memchr(command.data, ' ', command.length) : NULL;
    if (space) {
        argument.data = space + 1;
        argument.length = command.length - (size_t)(argument.data - command.data);
        command.length = (size_t)(space - command.data);
    }
#define IS(word) (space && command.length == strlen(word) && memcmp(command.data, word, command.length) == 0)
    if (IS("echo")) {
        respond(connection, request, argument.data, argument.length, RP_KIND_RESPONSE);
    } else if (IS("events")) {
        send_events(connection, request, argument);
    } else if (IS("wait")) {
        begin_wait(connection, request, argument);
    } else if (IS("ended")) {
        const char *state = state_of(argument);
        respond(connection, request, state, strlen(state), RP_KIND_RESPONSE);
    } else if (IS("fail")) {
        refuse(connection, request, RP_REASON_HANDLER_FAILED, argument);
    } else {
        refuse_text(connection, request, RP_REASON_HANDLER_FAILED, "unknown request");
    }
#undef IS
}

static void take_frame(struct connection *connection, rp_frame *frame)
{
    rp_status status = rp_frame_check(frame, 0);
    if (status == RP_STATUS_ENVELOPE_VERSION || status == RP_STATUS_UNKNOWN_KIND || frame->descriptors > 0) {
        connection->is_closing = true;
        return;
    }
    if (frame->kind == RP_KIND_CANCEL) cancel(connection, frame->request_id);
    if (frame->kind != RP_KIND_REQUEST) return;
    /* It would come back in the answer. */
    if (frame->traceparent.length > MAX_TRACEPARENT) frame->traceparent.length = 0;
    if (frame->tracestate.length > MAX_TRACESTATE) frame->tracestate.length = 0;
    if (status != RP_STATUS_OK)
        refuse_text(connection, frame, RP_REASON_BAD_ENCODING, rp_status_message(status));
    else if (frame->deadline_unix_ms != 0 && frame->deadline_unix_ms <= milliseconds(CLOCK_REALTIME))
        refuse_text(connection, frame, RP_REASON_DEADLINE_PASSED, "");
    else
        serve(connection, frame);
}

/* A frame of a protocol that this daemon does not serve: a cancel counts, a request is refused, and the connection ends. */
static void take_foreign_frame(struct connection *connection, rp_poll *poll)
{
    if (poll->frame.kind == RP_KIND_CANCEL) {
        cancel(connection, poll->frame.request_id);
        consume(&connection->in, poll->consumed);
        return;
    }
    connection->is_closing = true;
    if (poll->frame.kind != RP_KIND_REQUEST) return;
    poll->frame.traceparent.length = poll->frame.tracestate.length = 0;
    refuse_text(connection, &poll->frame, RP_REASON_UNSERVED_PROTOCOL, "");
}

static void answer_probe(struct connection *connection, const rp_poll *poll)
{
    size_t length;
    rp_status status = rp_mux_answer(mux, poll, NULL, 0, &length);
    if (status == RP_STATUS_BUFFER_TOO_SMALL && reserve(&connection->out, length)) {
        struct buffer *out = &connection->out;
        status = rp_mux_answer(mux, poll, out->data + out->end, out->capacity - out->end, &length);
        if (status == RP_STATUS_OK) out->end += length;
    }
    if (status != RP_STATUS_OK) connection->is_broken = true;
}

/* --- The old wire --- */

static bool take_line(struct connection *connection)
{
    struct buffer *in = &connection->in;
    uint8_t *line = in->data + in->start;
    uint8_t *newline = length_of(in) > 0 ? memchr(line, '\n', length_of(in)) : NULL;
    if (!newline) {
        if (length_of(in) >= MAX_LINE) connection->is_broken = true;
        return false;
    }
    size_t length = (size_t)(newline - line) + 1;
    for (size_t at = 0; at < length; at++)
        if (line[at] >= 'a' && line[at] <= 'z') line[at] = (uint8_t)(line[at] - 'a' + 'A');
    append(connection, line, length);
    consume(in, length);
    return true;
}

/* --- Connections --- */

/* Takes one message from the input; returns false if none is complete. */
static bool take_message(struct connection *connection)
{
    if (connection->wire == LEGACY) return take_line(connection);
    struct buffer *in = &connection->in;
    const uint8_t *data = in->data ? in->data + in->start : NULL;
    rp_poll poll;
    rp_status status = connection->wire == FRAMED ? rp_mux_poll_framed(mux, data, length_of(in), &poll)
                                                  : rp_mux_poll(mux, data, length_of(in), &poll);
    switch (poll.verdict) {
    case RP_VERDICT_NEED_MORE_BYTES:
        return false;
    case RP_VERDICT_LEGACY:
        connection->wire = LEGACY;
        return take_line(connection);
    case RP_VERDICT_PROBE: /* decides nothing: either wire may follow */
        answer_probe(connection, &poll);
        consume(in, poll.consumed);
        return true;
    case RP_VERDICT_FRAME:
        connection->wire = FRAMED;
        take_frame(connection, &poll.frame);
        consume(in, poll.consumed);
        return true;
    default:
        if (status == RP_STATUS_FIRST_PARTY || status == RP_STATUS_UNSERVED) take_foreign_frame(connection, &poll);
        else connection->is_closing = true;
        return true;
    }
}

static bool is_open(const struct connection *connection)
{
    return !connection->is_closing && !connection->is_broken;
}

/* Takes all complete messages, as long as the peer reads its answers. */
static void take_messages(struct connection *connection)
{
    bool is_incomplete = false;
    while (is_open(connection) && !is_incomplete && length_of(&connection->out) < MAX_OUTPUT) {
        if (!take_message(connection)) is_incomplete = true;
        else connection->has_spoken = true;
        if (length_of(&connection->out) >= MAX_OUTPUT) flush(connection);
    }
    flush(connection);
    if (connection->has_spoken && (!is_incomplete || length_of(&connection->in) == 0)) connection->since = 0;
    else if (connection->since == 0) connection->since = milliseconds(CLOCK_MONOTONIC);
    /* No more will come of a message that is cut off. */
    if (connection->has_ended && is_incomplete && connection->waiting == 0) connection->is_closing = true;
}

static void receive(struct connection *connection)
{
    struct buffer *in = &connection->in;
    size_t room = length_of(in) < 16 * 1024 ? 16 * 1024 : length_of(in);
    if (length_of(in) + room > RP_MAX_FRAME) room = RP_MAX_FRAME - length_of(in);
    if (room == 0 || !reserve(in, room)) {
        connection->is_broken = true;
        return;
    }
    ssize_t length = recv(connection->socket, in->data + in->end, room, 0);
    if (length > 0) in->end += (size_t)length;
    else if (length == 0) connection->has_ended = true;
    else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) connection->is_broken = true;
}

static void disconnect(size_t index)
{
    struct connection *connection = &connections[index];
    for (struct wait *wait = connection->waits, *next; wait; wait = next) {
        next = wait->next;
        names[wait->name].state = CANCELLED;
        free(wait);
    }
    release(&connection->in);
    release(&connection->out);
    close(connection->socket);
    *connection = connections[--connected];
}

static void accept_all(int listener)
{
    while (connected < MAX_CONNECTIONS) {
        int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0) return;
        connections[connected++] =
            (struct connection){ .socket = accepted, .since = milliseconds(CLOCK_MONOTONIC) };
    }
}

/* Returns the milliseconds until the next deadline of a connection, or -1. */
static int64_t time_left(const struct connection *connection)
{
    int64_t least = INT64_MAX;
    int64_t now = (int64_t)milliseconds(CLOCK_MONOTONIC), today = (int64_t)milliseconds(CLOCK_REALTIME);
    if (connection->since != 0) {
        int64_t limit = connection->has_spoken ? MESSAGE_MS : FIRST_MESSAGE_MS;
        least = (int64_t)connection->since + limit - now;
    }
    if (connection->blocked != 0 && (int64_t)connection->blocked + WRITE_MS - now < least)
        least = (int64_t)connection->blocked + WRITE_MS - now;
    for (const struct wait *wait = connection->waits; wait; wait = wait->next) {
        if (wait->deadline_unix_ms == 0 || wait->deadline_unix_ms > INT64_MAX) continue;
        if ((int64_t)wait->deadline_unix_ms - today < least) least = (int64_t)wait->deadline_unix_ms - today;
    }
    return least == INT64_MAX ? -1 : least < 0 ? 0 : least;
}

static void end_late(struct connection *connection)
{
    uint64_t now = milliseconds(CLOCK_MONOTONIC);
    uint64_t limit = connection->has_spoken ? MESSAGE_MS : FIRST_MESSAGE_MS;
    if (connection->since != 0 && now >= connection->since + limit) connection->is_broken = true;
    if (connection->blocked != 0 && now >= connection->blocked + WRITE_MS) connection->is_broken = true;
}

/* Serves all connections until the process is asked to stop. */
static void run(int listener)
{
    static struct pollfd polled[MAX_CONNECTIONS + 2];
    for (;;) {
        int64_t timeout = -1;
        polled[0] = (struct pollfd){ .fd = stop_pipe[0], .events = POLLIN };
        polled[1] = (struct pollfd){ .fd = connected < MAX_CONNECTIONS ? listener : -1, .events = POLLIN };
        size_t count = connected;
        for (size_t index = 0; index < count; index++) {
            const struct connection *connection = &connections[index];
            size_t waiting = length_of(&connection->out);
            bool reads = !connection->has_ended && !connection->is_closing && waiting < MAX_OUTPUT;
            short events = (short)((reads ? POLLIN : 0) | (waiting > 0 ? POLLOUT : 0));
            polled[index + 2] = (struct pollfd){ .fd = connection->socket, .events = events };
            int64_t left = time_left(connection);
            if (left >= 0 && (timeout < 0 || left < timeout)) timeout = left;
        }
        int ready = poll(polled, count + 2, timeout > 60000 ? 60000 : (int)timeout);
        if (ready < 0 && errno != EINTR) {
            perror("adopt: poll");
            return;
        }
        if (ready < 0) continue;
        if (polled[0].revents) return;
        /* From the last one, since the last one takes the place of one that ends. */
        for (size_t index = count; index-- > 0;) {
            struct connection *connection = &connections[index];
            short events = polled[index + 2].revents;
            if (events & POLLOUT) flush(connection);
            if (events & POLLIN) receive(connection);
            else if (events & (POLLHUP | POLLERR)) connection->is_broken = true; /* nobody reads an answer */
            if (events && is_open(connection)) take_messages(connection);
            end_late_waits(connection);
            flush(connection);
            if (!events) end_late(connection);
            bool is_done = connection->has_ended && connection->waiting == 0 && length_of(&connection->in) == 0;
            bool is_written = length_of(&connection->out) == 0;
            if (connection->is_broken || ((connection->is_closing || is_done) && is_written)) disconnect(index);
        }
        if (polled[1].revents) accept_all(listener);
    }
}

static void ask_to_stop(int signal)
{
    (void)signal;
    int saved = errno;
    ssize_t written = write(stop_pipe[1], "", 1);
    (void)written; /* a full pipe says the same */
    errno = saved;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) {
        fprintf(stderr, "adopt: the path of a socket has at most %zu bytes\n", sizeof address.sun_path - 1);
        return -1;
    }
    strcpy(address.sun_path, path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* Only this user may connect. */
    mode_t mask = umask(0177);
    bool is_bound = listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0;
    umask(mask);
    if (!is_bound || listen(listener, 128) < 0) {
        perror(path);
        return -1;
    }
    return listener;
}

int main(int count, char **arguments)
{
    if (count < 3 || count > 4) {
        fprintf(stderr, "usage: adopt SOCKET IDENTITY_FILE [PROTOCOL]\n");
        return 2;
    }
    if (rp_abi_version() != RP_ABI_VERSION) {
        fprintf(stderr, "adopt: the library is of another version than the header\n");
        return 2;
    }
    const uint32_t protocol = count == 4 ? (uint32_t)strtoul(arguments[3], NULL, 0) : 0xF0C0;
    char *path = arguments[1][0] == '/' ? strdup(arguments[1]) : NULL;
    if (!path) {
        fprintf(stderr, "adopt: the path of the socket is absolute, since clients have other directories\n");
        return 2;
    }
    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        perror("adopt: pipe");
        return 2;
    }
    struct sigaction action = { .sa_handler = ask_to_stop };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    int listener = listen_at(path);
    if (listener < 0) return 2;

    char reason[256] = "";
    rp_identity *identity = NULL;
    const rp_bytes namespace_id = { (const uint8_t *)"adopt", 5 };
    const rp_bytes endpoint = { (const uint8_t *)path, strlen(path) };
    rp_status status = rp_identity_observe(namespace_id, endpoint, NULL, &identity, reason, sizeof reason);
    if (status == RP_STATUS_OK) status = rp_mux_new(identity, &protocol, 1, NULL, NULL, &mux);
    /* The last step: clients that find the file can connect. */
    if (status == RP_STATUS_OK) status = rp_identity_file_write(arguments[2], identity, reason, sizeof reason);
    if (status != RP_STATUS_OK) {
        fprintf(stderr, "adopt: %s: %s\n", rp_status_message(status), reason);
        unlink(path);
        return 2;
    }
    rp_identity_free(identity);

    run(listener);

    close(listener);
    unlink(path);
    status = rp_identity_file_remove(arguments[2], reason, sizeof reason);
    if (status != RP_STATUS_OK) fprintf(stderr, "adopt: %s\n", reason);
    for (size_t index = 0; index < connected; index++) {
        while (connections[index].waits)
            end_wait(&connections[index], &connections[index].waits, RP_REASON_SHUTTING_DOWN, "");
        flush(&connections[index]);
    }
    while (connected > 0) disconnect(connected - 1);
    rp_mux_free(mux);
    free(path);
    return 0;
}
