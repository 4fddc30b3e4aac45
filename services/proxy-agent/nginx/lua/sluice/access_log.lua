-- The key `unlogged` of a path, and what a line of the access log says beside nginx's own variables. It is set when a request has ended and only where it
-- will be logged: nginx.conf declares these variables in a way that costs other requests nothing.
local settings = require "sluice.settings"

local ngx = ngx
local byte, find, sub = string.byte, string.find, string.sub

local M = {}

-- What is wrong with it; nil: nothing.
function M.problem(value)
  if value ~= true then return "unlogged is not true" end
  return nil
end

function M.compile(_, target)
  target.unlogged = true
end

-- Sequences of UTF-8, by their first byte: no overlong ones, no surrogates.
local function length_at(text, i)
  local a, b, c, d = byte(text, i, i + 3)
  local function follows(x) return x and x >= 0x80 and x <= 0xbf end
  if a >= 0xc2 and a <= 0xdf then return follows(b) and 2 end
  if a >= 0xe0 and a <= 0xef then
    if a == 0xe0 and b and b < 0xa0 or a == 0xed and b and b > 0x9f then return nil end
    return follows(b) and follows(c) and 3
  end
  if a >= 0xf0 and a <= 0xf4 then
    if a == 0xf0 and b and b < 0x90 or a == 0xf4 and b and b > 0x8f then return nil end
    return follows(b) and follows(c) and follows(d) and 4
  end
  return nil
end

-- (A pattern would do it in less letters, but LuaJIT compiles no function that looks for one.)
local function is_plain(text)
  for i = 1, #text do
    if byte(text, i) >= 127 then return false end
  end
  return true
end

-- nginx escapes quotes and control characters; what is no UTF-8 would make the line no JSON, and becomes ?.
local function utf8(text)
  if is_plain(text) then return text end
  local out, n, i = {}, 0, 1
  while i <= #text do
    local a = byte(text, i)
    local length = a < 0x7f and 1 or a >= 0x80 and length_at(text, i)
    n = n + 1
    out[n] = length and sub(text, i, i + length - 1) or "?"
    i = i + (length or 1)
  end
  return table.concat(out)
end
M.utf8 = utf8

-- A query may hold a password, a token, a name: it is nobody's business here.
local function without_query(text)
  local at = find(text, "?", 1, true)
  return at and sub(text, 1, at - 1) or text
end

-- `target` and `peer` as far as they are known.
function M.note(var, target, peer)
  local unlogged = settings.unlogged
  if unlogged and unlogged[var.request_uri or ""] then
    var.sluice_logged = ""
    return
  end
  if target then
    if target.unlogged then
      var.sluice_logged = ""
      return
    end
    local labels = target.labels
    var.sluice_route_host, var.sluice_route_path = labels.host, utf8(labels.path)
    var.sluice_namespace, var.sluice_ingress, var.sluice_service = labels.namespace, labels.ingress, labels.service
  end
  if peer then
    var.sluice_cluster = peer.cluster
    var.sluice_peer = peer.address .. ":" .. peer.port
  end
  local reason = ngx.header["x-sluice-reason"]
  if reason then var.sluice_reason = utf8(reason) end
  var.sluice_path = utf8(without_query(var.request_uri or ""))
  -- These are nginx's own unless something is to be changed.
  local host, agent, referer = var.host, var.http_user_agent, var.http_referer
  if host and not is_plain(host) then var.sluice_host = utf8(host) end
  if agent and not is_plain(agent) then var.sluice_agent = utf8(agent) end
  if referer then
    local shown = utf8(without_query(referer))
    if shown ~= referer then var.sluice_referer = shown end
  end
end

return M
