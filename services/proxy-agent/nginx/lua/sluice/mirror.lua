-- Copies of requests (mirror-target), sent by a timer beside them: nothing of it can slow or fail the request. Not by nginx's
-- own mirror module: its subrequest keeps the client's connection from the next request until the copy has been answered,
-- a peer's buffers with it, and takes who gets the copy from nginx.conf.
local counters = require "sluice.counters"
local http = require "sluice.access_http"
local names = require "sluice.access_names"
local outgoing = require "sluice.outgoing"

local concat, tonumber, type = table.concat, tonumber, type
local ngx, pcall = ngx, pcall
local add, fill = outgoing.add, outgoing.fill

local M = {}

-- Of a worker: copies in hand and the bytes of their bodies. Above that requests are not copied.
local MOST, MOST_BYTES = 128, 16 * 1024 * 1024
-- A request with a larger body is not copied: a copy without it would be another request.
local MOST_BODY = 1024 * 1024
local copies, bytes = 0, 0

-- What is wrong with it; nil: nothing.
function M.problem(mirror)
  local why = outgoing.service_problem(mirror, "mirror")
  if why then return why end
  if mirror.bodiless ~= nil and mirror.bodiless ~= true then return "mirror: bodiless is not true" end
  return outgoing.template_problem(mirror.hostHeader, "hostHeader")
end

function M.compile(mirror, target)
  local compiled = outgoing.service(mirror)
  compiled.hostHeader, compiled.bodiless = mirror.hostHeader, mirror.bodiless
  target.mirror = compiled
end

-- They have no body unless they say how long it is.
local BODILESS = outgoing.set "GET HEAD DELETE OPTIONS TRACE"

-- Bytes; nil: nobody can tell before it has been read.
local function length_of(var)
  local length = tonumber(var.content_length)
  if length then return length end
  if var.http_transfer_encoding or not BODILESS[ngx.req.get_method()] then return nil end
  return 0
end

-- Waits for it: what nginx would do, too, before it asks a peer.
local function read_body()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  if text then return text end
  local file = io.open(ngx.req.get_body_file() or "", "rb")
  if not file then return "" end
  text = file:read("*a")
  file:close()
  return text
end

-- Of the client's own nothing of this is passed on.
local NOT_PASSED = outgoing.set(outgoing.HOP .. " x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip x-request-id "
  .. "x-scheme x-sluice-mirror")

local function request_text(mirror, var, method, body)
  local lines = outgoing.begin(method, fill(mirror.target, var), fill(mirror.hostHeader, var), NOT_PASSED)
  if not lines then return nil end
  add(lines, "X-Request-ID", var.sluice_request_id)
  add(lines, "X-Real-IP", var.remote_addr)
  add(lines, "X-Forwarded-For", var.remote_addr)
  add(lines, "X-Forwarded-Host", var.host .. var.sluice_port)
  add(lines, "X-Forwarded-Proto", var.sluice_scheme)
  add(lines, "X-Scheme", var.sluice_scheme)
  -- Where it comes back to a proxy it is not copied again.
  lines[#lines + 1] = "X-Sluice-Mirror: 1"
  if #body > 0 or not BODILESS[method] then lines[#lines + 1] = "Content-Length: " .. #body end
  lines[#lines + 1] = "\r\n"
  return concat(lines, "\r\n") .. body
end

local function send(premature, service, addresses, text, size)
  local ok, answer
  if not premature then ok, answer = pcall(http.ask, service, addresses, text) end
  copies, bytes = copies - 1, bytes - size
  counters.add(ok and answer and "mirrored" or "mirror_failures")
end

-- Whether it is on its way.
local function begun(mirror, var)
  local addresses = names.addresses(mirror.host)
  if not addresses or #addresses == 0 then return false end
  local size = mirror.bodiless and 0 or length_of(var)
  if not size or size > MOST_BODY or copies >= MOST or bytes + size > MOST_BYTES then return false end
  local body = size > 0 and read_body() or ""
  -- Others came while it was being read.
  if #body ~= size or copies >= MOST or bytes + size > MOST_BYTES then return false end
  local method = ngx.req.get_method()
  local text = request_text(mirror, var, method, body)
  if not text then return false end
  local service = {
    secure = mirror.secure, host = mirror.host, port = mirror.port, authority = mirror.authority, method = method,
  }
  if not ngx.timer.at(0, send, service, addresses, text, size) then return false end
  copies, bytes = copies + 1, bytes + size
  return true
end

-- Of a request that nothing keeps from its peer any more.
function M.copy(mirror, var)
  if var.http_x_sluice_mirror then return end
  local ok, sent = pcall(begun, mirror, var)
  if not ok then ngx.log(ngx.ERR, "sluice: mirror-target ", mirror.authority, ": ", sent) end
  if not ok or not sent then counters.add("mirror_drops") end
end

return M
