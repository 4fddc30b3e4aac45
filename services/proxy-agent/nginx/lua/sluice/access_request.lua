-- A service that is asked of each request (auth-url): with the request's own headers and without its body. By a connection
-- of our own, not a subrequest: the module that makes those for Lua refuses them on HTTP/2, nginx's own takes who is asked
-- from its configuration, and both keep an answer of any size. Whatever goes wrong shuts the request out.
local counters = require "sluice.counters"
local http = require "sluice.access_http"
local names = require "sluice.access_names"
local phases = require "sluice.phases"

local concat, find, gsub, lower, match, sub, type = table.concat, string.find, string.gsub, string.lower, string.match,
  string.sub, type
local ngx, ipairs, pairs = ngx, ipairs, pairs

local M = {}

-- Of what is known of the request; anything else is empty, as in nginx.
local VALUES = {
  args = function(var) return var.args end,
  escaped_request_uri = function(var) return ngx.escape_uri(var.request_uri) end,
  host = function(var) return var.host end,
  http_host = function(var) return var.host .. var.sluice_port end,
  remote_addr = function(var) return var.remote_addr end,
  request_method = function(var) return var.request_method end,
  request_uri = function(var) return var.request_uri end,
  scheme = function(var) return var.sluice_scheme end,
}

local function template_problem(parts, what)
  if type(parts) ~= "table" or #parts > 64 then return what .. " is no list of parts" end
  for _, part in ipairs(parts) do
    if type(part) ~= "table" then return "a part of " .. what .. " is no object" end
    if part.variable ~= nil then
      if not VALUES[part.variable] then return what .. " has an unknown variable" end
    elseif type(part.text) ~= "string" or #part.text > 2048 or find(part.text, "[^\33-\126]") then
      return "a part of " .. what .. " is neither text nor a variable"
    end
  end
  return nil
end

-- Whoever sets these says where a request goes and where it ends.
local FRAMING = {}
for name in ("connection content-length expect host http2-settings keep-alive proxy proxy-connection te trailer "
  .. "transfer-encoding upgrade"):gmatch("%S+") do FRAMING[name] = true end

-- What is wrong with it; nil: nothing.
function M.problem(auth)
  if type(auth) ~= "table" then return "auth is no object" end
  if type(auth.host) ~= "string" or #auth.host > 253 or find(auth.host, "[^%w._:-]") then return "auth: host is no host" end
  local port = auth.port
  if type(port) ~= "number" or port < 1 or port > 65535 or port % 1 ~= 0 then return "auth: port is not 1 to 65535" end
  if type(auth.method) ~= "string" or not match(auth.method, "^%u+$") then return "auth: method is none" end
  local headers = auth.headers or {}
  if type(headers) ~= "table" or #headers > 64 then return "auth: headers are no list" end
  for _, name in ipairs(headers) do
    if type(name) ~= "string" or #name > 128 or not match(name, "^[%w_-]+$") then return "auth: a header has no name" end
    if FRAMING[lower(name)] then return "auth: header " .. name .. " is not for a service to say" end
  end
  return template_problem(auth.target, "target") or auth.signin and template_problem(auth.signin, "signin")
    or auth.redirect and template_problem(auth.redirect, "redirect") or nil
end

local function fill(parts, var)
  local out = {}
  for i, part in ipairs(parts) do out[i] = part.text or VALUES[part.variable](var) or "" end
  return concat(out)
end

-- Of the connection to us, or of a body that is not sent on; and what we say ourselves.
local NOT_PASSED = {}
for name in ("connection content-length expect host keep-alive proxy proxy-authenticate proxy-authorization proxy-connection te "
  .. "trailer transfer-encoding upgrade x-auth-request-redirect x-forwarded-for x-forwarded-proto x-original-method "
  .. "x-original-url x-real-ip x-request-id x-scheme x-sent-from"):gmatch("%S+") do NOT_PASSED[name] = true end

local function add(lines, name, value)
  -- nginx has let no such value in; whoever adds one must not write a header of ours.
  if not find(value, "[%c\127]") then lines[#lines + 1] = name .. ": " .. value end
end

local function request_text(guard, var)
  local target = fill(guard.target, var)
  if sub(target, 1, 1) ~= "/" or find(target, "[%c \127]") then return nil end
  local lines = { guard.method .. " " .. target .. " HTTP/1.1", "Host: " .. guard.authority }
  for name, value in pairs(ngx.req.get_headers(0, true)) do
    if not NOT_PASSED[lower(name)] then
      if type(value) == "table" then
        for _, each in ipairs(value) do add(lines, name, each) end
      elseif type(value) == "string" then
        add(lines, name, value)
      end
    end
  end
  local uri = var.request_uri
  add(lines, "X-Original-URL", var.sluice_scheme .. "://" .. var.host .. var.sluice_port .. uri)
  add(lines, "X-Original-Method", var.request_method)
  add(lines, "X-Sent-From", "nginx-ingress-controller")
  add(lines, "X-Real-IP", var.remote_addr)
  add(lines, "X-Forwarded-For", var.remote_addr)
  add(lines, "X-Scheme", var.sluice_scheme)
  add(lines, "X-Request-ID", var.sluice_request_id)
  add(lines, "X-Auth-Request-Redirect", guard.redirect and fill(guard.redirect, var) or uri)
  if guard.method ~= "GET" and guard.method ~= "HEAD" then lines[#lines + 1] = "Content-Length: 0" end
  lines[#lines + 1] = "\r\n"
  return concat(lines, "\r\n")
end

-- Requests of this worker that wait for an answer: a service that hangs must not take all that it has.
local MOST_WAITING = 512
local waiting = 0

local function asked(guard, var)
  local addresses = names.addresses(guard.host)
  if not addresses then return nil, guard.host .. " has not been looked up" end
  if #addresses == 0 then return nil, guard.host .. " has no address that may be asked" end
  if waiting >= MOST_WAITING then return nil, "too many requests wait for " .. guard.host end
  local text = request_text(guard, var)
  if not text then return nil, "the request cannot stand in its URL" end
  waiting = waiting + 1
  local ok, answer, why = pcall(http.ask, guard, addresses, text)
  waiting = waiting - 1
  if not ok then return nil, answer end
  return answer, why
end

local told = 0

local function unavailable(guard, why)
  counters.add("auth_failures")
  -- Of a service that is away each request would say so.
  if ngx.now() - told >= 1 then
    told = ngx.now()
    ngx.log(ngx.ERR, "sluice: auth-url ", guard.authority, ": ", why)
  end
  return "auth-failed"
end

-- nil, or why not.
function M.check(guard, var, state)
  local answer, why = asked(guard, var)
  if not answer then return unavailable(guard, why) end
  state.asked = answer
  local status = answer.status
  if status >= 200 and status < 300 then return nil end
  if status == 401 then
    state.challenge = answer.headers["www-authenticate"] and answer.headers["www-authenticate"][1]
    return "unauthorized"
  end
  if status == 403 then return "forbidden" end
  return unavailable(guard, "it answered " .. status)
end

local function cookies(answer, always)
  local status = ngx.status
  local good = status == 200 or status == 201 or status == 204 or status == 206 or status >= 301 and status <= 304
    or status == 307 or status == 308
  return (good or always) and answer.headers["set-cookie"] or nil
end

-- A peer gets what the service said, and never what a client says under these names, asked or not.
function M.pass(guard, state)
  local answer = state.asked
  for _, name in ipairs(guard.headers) do
    local values = answer and answer.headers[lower(name)]
    if values then ngx.req.set_header(name, concat(values, ", ")) else ngx.req.clear_header(name) end
  end
end

-- A client that is not signed in is sent where that is done. The reason, or it ends the request.
function M.refuse(guard, why, var, state)
  local answer = state.asked
  if answer and answer.status ~= 401 and answer.status ~= 403 then return why end
  if not guard.signin or why ~= "unauthorized" then return why end
  local to = fill(guard.signin, var)
  if sub(to, 1, 1) == "/" then to = var.sluice_scheme .. "://" .. var.host .. var.sluice_port .. to end
  ngx.header["www-authenticate"] = nil
  ngx.status = 302
  ngx.header["location"] = gsub(to, "[%c ]", "")
  ngx.header["content-length"] = 0
  ngx.header["x-sluice-reason"] = "signin"
  ngx.send_headers()
  return ngx.exit(302)
end

function M.compile(auth, target)
  local plain = auth.port == (auth.secure and 443 or 80)
  local host = find(auth.host, ":", 1, true) and "[" .. auth.host .. "]" or auth.host
  local guard = {
    secure = auth.secure == true, host = lower(auth.host), port = auth.port, method = auth.method,
    authority = plain and host or host .. ":" .. string.format("%d", auth.port),
    target = auth.target, signin = auth.signin, redirect = auth.redirect, headers = auth.headers or {},
  }
  local always = auth.alwaysSetCookie == true
  phases.filter(target, {
    apply = function(_, _, state)
      local answer = state and state.asked
      local given = answer and cookies(answer, always)
      if not given then return end
      local there = ngx.header["set-cookie"]
      local all = type(there) == "table" and there or { there }
      for _, cookie in ipairs(given) do all[#all + 1] = cookie end
      ngx.header["set-cookie"] = all
    end,
  })
  return guard
end

return M
