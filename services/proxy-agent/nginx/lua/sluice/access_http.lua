-- One question by HTTP/1.1 and the header of its answer, within a time and a size.
local find, gmatch, lower, match, sub = string.find, string.gmatch, string.lower, string.match, string.sub
local max, tonumber = math.max, tonumber
local ngx = ngx

local M = {}

-- Seconds to connect, and for all of it; addresses that are tried; bytes of an answer's header, and of a body that is
-- read so that the connection can be used again.
M.CONNECT, M.WHOLE, M.TRIES, M.HEADER, M.BODY = 1, 10, 2, 64 * 1024, 64 * 1024
-- Connections that a worker keeps for one service, and milliseconds that it does.
local IDLE, IDLE_MS = 32, 30000

local function left(ends)
  return max(1, (ends - ngx.now()) * 1000)
end

local function connected(guard, address, ends)
  local socket = ngx.socket.tcp()
  socket:settimeouts(math.min(M.CONNECT * 1000, left(ends)), left(ends), left(ends))
  local host = find(address, ":", 1, true) and "[" .. address .. "]" or address
  local pool = (guard.secure and "tls:" or "tcp:") .. guard.authority .. "@" .. address
  local ok, why = socket:connect(host, guard.port, { pool = pool, pool_size = IDLE })
  if not ok then return nil, "connecting to " .. address .. ": " .. why end
  local reused = socket:getreusedtimes() > 0
  if guard.secure and not reused then
    local session
    session, why = socket:sslhandshake(false, not find(guard.host, ":", 1, true) and guard.host or nil, false)
    if not session then
      socket:close()
      return nil, "TLS with " .. address .. ": " .. why
    end
  end
  return socket, reused
end

-- Everything up to the empty line, and what came behind it.
local function header_of(socket, ends, text)
  while true do
    local from, to = find(text, "\r\n\r\n", 1, true)
    if from then return sub(text, 1, from + 1), sub(text, to + 1) end
    if #text > M.HEADER then return nil, "a header of more than " .. M.HEADER .. " bytes" end
    if ngx.now() >= ends then return nil, "no answer in " .. M.WHOLE .. " s" end
    socket:settimeout(left(ends))
    local more, why = socket:receiveany(16384)
    if not more then return nil, why, #text end
    text = text .. more
  end
end

local function parsed(text)
  local version, status, behind = match(text, "^HTTP/1%.([01]) (%d%d%d)([ \r]\n?)")
  if not version or behind == "\r" then return nil end
  local headers = {}
  for line in gmatch(sub(text, find(text, "\r\n", 1, true) + 2), "(.-)\r\n") do
    local name, value = match(line, "^([^%s:]+):[ \t]*(.-)[ \t]*$")
    if not name or find(value, "[%z\1-\8\10-\31\127]") then return nil end
    name = lower(name)
    local values = headers[name] or {}
    headers[name], values[#values + 1] = values, value
  end
  return { version = version, status = tonumber(status), headers = headers }
end

-- True: the body was read to its end, `text` being what has come of it.
local function drained(socket, text, length, ends)
  if #text > length then return false end
  socket:settimeout(left(ends))
  return #text == length or socket:receive(length - #text) ~= nil
end

-- The same, of a body in chunks; one with trailers is left.
local function drained_chunks(socket, text, ends)
  local at = 1
  while true do
    local from, to = find(text, "\r\n", at, true)
    local size = from and tonumber(match(sub(text, at, from - 1), "^%x+") or "", 16)
    if from and (not size or size > M.BODY) then return false end
    -- Behind a chunk, and behind the last one, stands an end of line more.
    local needed = from and to + size + 2 or #text + 1
    while #text < needed do
      socket:settimeout(left(ends))
      local more = #text < M.BODY and socket:receiveany(M.BODY)
      if not more then return false end
      text = text .. more
    end
    if from then
      if sub(text, needed - 1, needed) ~= "\r\n" then return false end
      if size == 0 then return #text == needed end
      at = needed + 1
    end
  end
end

-- The connection may serve again where all of the answer was read.
local function keep(socket, guard, answer, rest, ends)
  local headers, whole = answer.headers, false
  local length, coding = headers["content-length"], headers["transfer-encoding"]
  local closes = headers.connection and find(lower(headers.connection[1]), "close", 1, true) or answer.version == "0"
  if closes or length and coding then
    whole = false
  elseif guard.method == "HEAD" or answer.status == 204 or answer.status == 304 then
    whole = rest == ""
  elseif coding then
    whole = #coding == 1 and lower(coding[1]) == "chunked" and drained_chunks(socket, rest, ends)
  elseif length and #length == 1 and match(length[1], "^%d%d?%d?%d?%d?$") then
    whole = tonumber(length[1]) <= M.BODY and drained(socket, rest, tonumber(length[1]), ends)
  end
  if whole then return socket:setkeepalive(IDLE_MS, IDLE) end
  return socket:close()
end

-- The answer, or nil and why there is none; then whether it was a kept connection that had been closed meanwhile.
local function try(guard, address, text, ends)
  local socket, reused = connected(guard, address, ends)
  if not socket then return nil, reused end
  local sent, why = socket:send(text)
  local header, rest, begun
  if sent then
    header, rest, begun = header_of(socket, ends, "")
    -- 100 Continue and the like are not it.
    while header and match(header, "^HTTP/1%.[01] 1%d%d[ \r]") do header, rest, begun = header_of(socket, ends, rest) end
    why = rest
  end
  if not header then
    socket:close()
    return nil, why, reused and (not sent or begun == 0) and why ~= "timeout"
  end
  local answer = parsed(header)
  if not answer then
    socket:close()
    return nil, "what it answered is no HTTP"
  end
  keep(socket, guard, answer, rest, ends)
  return answer
end

-- `guard`: secure, host, port, authority, method. `text`: the request. {status, headers: values by lower-case name}, or nil
-- and why there is none.
function M.ask(guard, addresses, text)
  local ends = ngx.now() + M.WHOLE
  local first = math.random(#addresses)
  local why
  for i = 0, math.min(M.TRIES, #addresses) - 1 do
    local address = addresses[(first + i - 1) % #addresses + 1]
    local answer, stale
    -- As often as there may be kept connections: each of them may have been closed.
    for _ = 0, IDLE do
      answer, why, stale = try(guard, address, text, ends)
      if not stale then break end
    end
    if answer then return answer end
    -- A service that took the request and says nothing is not asked twice.
    if not find(why, "^connecting") and not find(why, "^TLS") then break end
  end
  return nil, why
end

return M
