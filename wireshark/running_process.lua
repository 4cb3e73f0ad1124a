-- Dissector of the running-process wire for Wireshark and tshark (docs/wire.md).
--
--   tshark -X lua_script:wireshark/running_process.lua -r capture.pcap
--
-- A stream whose segment begins with a frame is recognized; for any other one use "Decode As". Other segments are left to other
-- dissectors, so a legacy wire on the same endpoint shows as it is.

local MAX_BODY = 16 * 1024 * 1024
local HEADER = 5
local PROBE, CONTROL = 0xB232, 0

local rp = Proto("rp", "running-process")

local KINDS = { [0] = "REQUEST", [1] = "RESPONSE", [2] = "EVENT", [3] = "CANCEL" }
local ENCODINGS = { [0] = "none", [1] = "Zstandard", [2] = "Snappy", [3] = "LZ4" }
local REASONS = {
    [0] = "unspecified", [1] = "overloaded", [2] = "the deadline has passed", [3] = "cancelled",
    [4] = "the payload protocol is not served", [5] = "the payload's encoding cannot be decoded", [6] = "not authorized",
    [7] = "the handler failed", [8] = "shutting down", [9] = "the answer does not fit a frame",
}
local NOTICES = { [1] = "moved" }
local PROTOCOLS = {
    [0x0000] = "control", [0x5350] = "session stream", [0xAD01] = "administration", [0xB232] = "identity probe",
    [0xD0FF] = "handoff", [0x7A63] = "zccache", [0x7C4C] = "clud", [0x7EB1] = "fbuild",
}

-- The fields of each message by tag: the name, the type and, of varints, the names of values. A `message` has fields of its own.
local FRONTED = {
    [1] = { "pid", "uint32" }, [2] = { "start_time", "uint64" }, [3] = { "exe_path", "string" },
    [4] = { "exe_path_bytes", "bytes" }, [5] = { "exe_blake3", "bytes" },
}
local ENDPOINT = { [1] = { "namespace_id", "string" }, [2] = { "path", "string" } }
local IDENTITY = {
    [1] = { "pid", "uint32" }, [2] = { "exe_path", "string" }, [3] = { "exe_sha256", "bytes" },
    [4] = { "ipc_endpoint", "message", ENDPOINT }, [5] = { "started_at", "milliseconds" }, [6] = { "boot_id", "string" },
    [7] = { "idle_timeout_secs", "uint32" }, [8] = { "exe_hash_algorithm", "string" }, [9] = { "exe_hash", "bytes" },
    [1000] = { "exe_path_bytes", "bytes" }, [1001] = { "start_time", "uint64" }, [1002] = { "instance_id", "bytes" },
    [1003] = { "pid_namespace", "uint64" }, [1004] = { "inherited_listener", "bool" }, [1005] = { "version", "string" },
    [1006] = { "build", "string" }, [1007] = { "fronts", "message", FRONTED },
}
local REFUSAL = {
    [1000] = { "reason", "uint32", REASONS }, [1001] = { "message", "string" }, [1002] = { "retry_after_ms", "uint32" },
}
local NOTICE = { [1000] = { "kind", "uint32", NOTICES } }
local LATENCY = { [1] = { "counts", "packed" } }
local STATUS = {
    [9] = { "requests_refused", "packed" }, [24] = { "latency", "message", LATENCY },
}
local COUNTERS = {
    "uptime_ms", "connections_open", "connections_accepted", "connections_refused", "connection_errors", "probes_answered",
    "requests_received", "requests_answered", false, "requests_cancelled", "requests_in_flight", "events_sent", "bytes_received",
    "bytes_sent", "memory_bytes", "in_flight_limit_hit", "memory_limit_hit", "first_message_limit_hit",
    "first_message_deadline_hit", "message_deadline_hit", "probed_deadline_hit", "idle_deadline_hit", "write_deadline_hit", false,
    "callbacks_panicked",
}
for tag, name in ipairs(COUNTERS) do
    if name then STATUS[tag] = { name, "uint64" } end
end
local FRAME = {
    [1] = { "envelope_version", "uint32" }, [2] = { "kind", "uint32", KINDS }, [3] = { "payload_protocol", "id", PROTOCOLS },
    [4] = { "payload", "bytes" }, [5] = { "request_id", "uint64" }, [6] = { "payload_encoding", "uint32", ENCODINGS },
    [7] = { "deadline", "milliseconds" }, [8] = { "traceparent", "string" }, [9] = { "tracestate", "string" },
    [1000] = { "accepted_encodings", "bits" }, [1001] = { "descriptors", "uint32" },
    [1002] = { "accepted_descriptors", "uint32" }, [1003] = { "payload_is_file", "bool" },
}

local MAKE = {
    uint32 = function(name, title, values) return ProtoField.uint32(name, title, base.DEC, values) end,
    id = function(name, title, values) return ProtoField.uint32(name, title, base.HEX, values) end,
    bits = function(name, title) return ProtoField.uint32(name, title, base.HEX) end,
    uint64 = function(name, title) return ProtoField.uint64(name, title, base.DEC) end,
    bool = function(name, title) return ProtoField.bool(name, title) end,
    string = function(name, title) return ProtoField.string(name, title) end,
    bytes = function(name, title) return ProtoField.bytes(name, title) end,
    packed = function(name, title) return ProtoField.bytes(name, title) end,
    milliseconds = function(name, title) return ProtoField.absolute_time(name, title, base.UTC) end,
    message = function(name, title) return ProtoField.none(name, title) end,
}
local own = {
    version = ProtoField.uint8("rp.framing_version", "framing_version"),
    length = ProtoField.uint32("rp.body_length", "body_length"),
    nonce = ProtoField.bytes("rp.probe.nonce", "nonce"),
    identity = ProtoField.none("rp.identity", "identity"),
    refusal = ProtoField.none("rp.refusal", "refusal"),
    notice = ProtoField.none("rp.notice", "notice"),
    status = ProtoField.none("rp.status", "status"),
    unknown = ProtoField.bytes("rp.unknown", "unknown field"),
    request = ProtoField.framenum("rp.request_in", "request in", base.NONE, frametype.REQUEST),
    time = ProtoField.relative_time("rp.time", "time since the request"),
    notices = ProtoField.bool("rp.accepted_encodings.notices", "wants notices", 32, nil, 0x1),
    zstandard = ProtoField.bool("rp.accepted_encodings.zstandard", "Zstandard", 32, nil, 0x2),
    snappy = ProtoField.bool("rp.accepted_encodings.snappy", "Snappy", 32, nil, 0x4),
    lz4 = ProtoField.bool("rp.accepted_encodings.lz4", "LZ4", 32, nil, 0x8),
}
local all = {}
for _, field in pairs(own) do all[#all + 1] = field end

local function declare(prefix, fields)
    for _, field in pairs(fields) do
        local name, kind, detail = field[1], field[2], field[3]
        field.abbreviation = prefix .. "." .. name
        field.proto = MAKE[kind](field.abbreviation, name, kind ~= "message" and detail or nil)
        all[#all + 1] = field.proto
        if kind == "message" then declare(field.abbreviation, detail) end
    end
end
declare("rp", FRAME)
declare("rp.identity", IDENTITY)
declare("rp.refusal", REFUSAL)
declare("rp.notice", NOTICE)
declare("rp.status", STATUS)
rp.fields = all

local malformed = ProtoExpert.new("rp.malformed", "not a protobuf message", expert.group.MALFORMED, expert.severity.ERROR)
local too_large = ProtoExpert.new("rp.too_large", "the body is above 16 MiB", expert.group.MALFORMED, expert.severity.ERROR)
local absent = ProtoExpert.new("rp.absent_digest", "32 zero bytes: no digest", expert.group.COMMENTS_GROUP, expert.severity.CHAT)
local refused = ProtoExpert.new("rp.refused", "refused", expert.group.RESPONSE_CODE, expert.severity.NOTE)
rp.experts = { malformed, too_large, absent, refused }

rp.prefs.status_protocol = Pref.uint("Payload protocol of status requests", 0xFFFF, "0 if the daemon has none")

-- Reads the varint at `at`; returns its value as UInt64 and as number, which is exact below 2^53, and the offset behind it. Returns
-- nil if there is none.
local function varint(tvb, at)
    local low, high, number, scale = 0, 0, 0, 1
    for index = 0, 9 do
        if at + index >= tvb:len() then return nil end
        local byte = tvb(at + index, 1):uint()
        local bits = byte % 0x80
        number = number + bits * scale
        scale = scale * 0x80
        if index < 4 then low = low + bits * 2 ^ (7 * index)
        elseif index == 4 then
            low = low + (bits % 16) * 2 ^ 28
            high = math.floor(bits / 16)
        else high = high + bits * 2 ^ (7 * index - 32) end
        if byte < 0x80 then
            if index == 9 and byte > 1 then return nil end
            return UInt64.new(low, high % 2 ^ 32), number, at + index + 1
        end
    end
    return nil
end

local function protocol_name(id)
    return string.format("0x%04X", id) .. (PROTOCOLS[id] and " " .. PROTOCOLS[id] or "")
end

local message

-- Adds one value to the tree; returns its item, or nil if it is not of the field's type.
local function add_value(tree, field, range, value, number)
    local kind, proto = field[2], field.proto
    if kind == "uint64" then return tree:add(proto, range, value) end
    if kind == "milliseconds" then
        return tree:add(proto, range, NSTime.new(math.floor(number / 1000), (number % 1000) * 1000000))
    end
    -- Protobuf truncates a varint to the field's width.
    local word = value:lower()
    if kind == "bool" then return tree:add(proto, range, number ~= 0) end
    if kind == "bits" then
        local item = tree:add(proto, range, word)
        for _, bit in ipairs({ own.notices, own.zstandard, own.snappy, own.lz4 }) do item:add(bit, range, word) end
        return item
    end
    local item = tree:add(proto, range, word)
    if kind == "id" then item:set_text(string.format("%s: %s", field[1], protocol_name(word))) end
    return item
end

local function add_bytes(tree, field, tvb, whole, at, length)
    local kind, proto = field[2], field.proto
    local range = length > 0 and tvb(at, length) or nil
    if kind == "message" then
        return message(tree:add(proto, whole), field[3], range and range:tvb() or nil) ~= nil
    elseif kind == "packed" then
        local offset, index, counted = at, 0, {}
        while offset < at + length do
            local value, _, behind = varint(tvb, offset)
            if not value or behind > at + length then return false end
            if value ~= UInt64.new(0) then counted[#counted + 1] = index .. ": " .. tostring(value) end
            offset, index = behind, index + 1
        end
        -- Most of them are 0.
        tree:add(proto, range or whole):set_text(string.format("%s (%d): %s", field[1], index, table.concat(counted, ", ")))
    elseif kind == "string" then
        if range then tree:add(proto, range) else tree:add(proto, whole, "") end
    else
        local item = tree:add(proto, range or whole)
        if not range then item:set_text(field[1] .. ": empty") end
        if field == FRAME[4] and range then
            local text = range(0, math.min(length, 64)):raw()
            if not text:find("[^\32-\126]") then item:append_text(' "' .. text .. (length > 64 and '..."' or '"')) end
        elseif length == 32 and tostring(range:bytes()) == string.rep("00", 32) then
            item:add_proto_expert_info(absent)
        end
    end
    return true
end

-- Adds the fields of a protobuf message; returns them by name, the last value of each, or nil if it is malformed.
message = function(tree, fields, tvb)
    local found, at = {}, 0
    while tvb and at < tvb:len() do
        local _, key, behind = varint(tvb, at)
        local wire = key and key % 8
        local field = key and fields[math.floor(key / 8)]
        local value, number, length
        local start = at
        if wire == 0 then
            value, number, at = varint(tvb, behind)
        elseif wire == 1 or wire == 5 then
            length, at = 0, behind + (wire == 1 and 8 or 4)
        elseif wire == 2 then
            _, length, behind = varint(tvb, behind)
            at = length and behind + length
        else
            at = nil
        end
        if not at or at > tvb:len() then
            tree:add_proto_expert_info(malformed)
            return nil
        end
        local whole = tvb(start, at - start)
        local is_text = field and (field[2] == "string" or field[2] == "bytes" or field[2] == "message")
        if field and wire == 0 and not is_text then
            add_value(tree, field, whole, value, number)
            found[field[1]] = { number = number, text = tostring(value) }
        elseif field and wire == 2 and (is_text or field[2] == "packed") then
            if not add_bytes(tree, field, tvb, whole, behind, length) then
                tree:add_proto_expert_info(malformed)
                return nil
            end
            found[field[1]] = { range = length > 0 and tvb(behind, length) or nil, length = length }
        elseif field then
            tree:add_proto_expert_info(malformed)
            return nil
        else
            tree:add(own.unknown, whole)
        end
    end
    return found
end

local function number(found, name)
    return found[name] and found[name].number or 0
end

-- The requests of each stream, by direction and id: to find the one that a response answers.
local requests = {}
function rp.init() requests = {} end

local function direction(pinfo, reversed)
    local from = tostring(pinfo.src) .. ":" .. pinfo.src_port
    local to = tostring(pinfo.dst) .. ":" .. pinfo.dst_port
    return reversed and to .. ">" .. from or from .. ">" .. to
end

-- Links a request, and the frames that answer it.
local function link(tree, pinfo, kind, id)
    if kind == 0 then
        requests[direction(pinfo) .. "#" .. id] = { number = pinfo.number, time = pinfo.abs_ts }
        return
    end
    local request = requests[direction(pinfo, kind ~= 3) .. "#" .. id]
    if not request or request.number > pinfo.number then return end
    tree:add(own.request, request.number):set_generated()
    if kind == 3 then return end
    local seconds = pinfo.abs_ts - request.time
    if seconds < 0 then return end
    local whole = math.floor(seconds)
    tree:add(own.time, NSTime.new(whole, math.floor((seconds - whole) * 1e9 + 0.5))):set_generated()
end

-- Adds the meaning of the payload, and returns its title.
local function payload(tree, kind, id, found)
    local bytes = found.payload
    local range = bytes and bytes.range
    local tvb = range and range:tvb()
    if number(found, "payload_encoding") ~= 0 then return nil end
    local protocol = number(found, "payload_protocol")
    if protocol == PROBE and range and range:len() >= 32 then
        tree:add(own.nonce, range(0, 32))
        if kind == 1 and range:len() > 32 then
            local rest = range(32, range:len() - 32)
            message(tree:add(own.identity, rest), IDENTITY, rest:tvb())
            return "identity"
        end
        return "probe"
    elseif protocol == CONTROL and kind == 1 then
        local item = range and tree:add(own.refusal, range) or tree:add(own.refusal)
        local refusal = message(item, REFUSAL, tvb)
        if not refusal then return "refusal" end
        item:add_proto_expert_info(refused)
        return "refused: " .. (REASONS[number(refusal, "reason")] or "unspecified")
    elseif protocol == CONTROL and kind == 2 and id == "0" then
        local item = range and tree:add(own.notice, range) or tree:add(own.notice)
        local notice = message(item, NOTICE, tvb)
        return "notice: " .. (notice and NOTICES[number(notice, "kind")] or "unknown")
    elseif protocol ~= 0 and protocol == rp.prefs.status_protocol and kind == 1 then
        message(range and tree:add(own.status, range) or tree:add(own.status), STATUS, tvb)
        return "status"
    end
    return nil
end

local function frame(tvb, pinfo, root)
    pinfo.cols.protocol = "RP"
    local body_length = tvb(1, 4):le_uint()
    local tree = root:add(rp, tvb())
    tree:add(own.version, tvb(0, 1))
    tree:add_le(own.length, tvb(1, 4))
    if body_length > MAX_BODY then
        tree:add_proto_expert_info(too_large)
        pinfo.cols.info:append(" [body of " .. body_length .. " bytes]")
        return tvb:len()
    end
    local found = message(tree, FRAME, body_length > 0 and tvb(HEADER, body_length):tvb() or nil)
    if not found then
        pinfo.cols.info:append(" [malformed]")
        return tvb:len()
    end
    local kind, protocol = number(found, "kind"), number(found, "payload_protocol")
    local id = found.request_id and found.request_id.text or "0"
    local title = string.format("%s %s #%s", KINDS[kind] or "KIND " .. kind, protocol_name(protocol), id)
    if id ~= "0" then link(tree, pinfo, kind, id) end
    local meaning = payload(tree, kind, id, found)
    if meaning then title = title .. " " .. meaning
    elseif found.payload then title = title .. " " .. found.payload.length .. " bytes" end
    tree:append_text(", " .. title)
    pinfo.cols.info:append(" | " .. title)
    return tvb:len()
end

-- Returns the length of the frame at `offset`; a body that is too large is shown with its header alone.
local function length_of(tvb, _, offset)
    local body_length = tvb(offset + 1, 4):le_uint()
    return body_length > MAX_BODY and HEADER or HEADER + body_length
end

function rp.dissector(tvb, pinfo, root)
    if tvb:len() > 0 and tvb(0, 1):uint() ~= 1 then return 0 end
    pinfo.cols.info:clear()
    pinfo.cols.info:append(pinfo.src_port .. " > " .. pinfo.dst_port)
    dissect_tcp_pdus(tvb, root, HEADER, length_of, frame)
    return tvb:len()
end

-- Recognizes the start of a frame: its first field is envelope_version 1, which every sender writes.
local function is_frame(tvb, pinfo, root)
    if tvb:len() < HEADER + 2 or tvb(0, 1):uint() ~= 1 then return false end
    local body_length = tvb(1, 4):le_uint()
    if body_length < 2 or body_length > MAX_BODY or tvb(HEADER, 2):uint() ~= 0x0801 then return false end
    pinfo.conversation = rp
    rp.dissector(tvb, pinfo, root)
    return true
end

rp:register_heuristic("tcp", is_frame)
DissectorTable.get("tcp.port"):add_for_decode_as(rp)
