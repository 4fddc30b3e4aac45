-- A service that is asked of each request (auth-url): with the request's own headers and without its body. By a connection
-- of our own, not a subrequest: the module that makes those for Lua refuses them on HTTP/2, nginx's own takes who is asked
-- from its configuration, and both keep an answer of any size. Whatever goes wrong shuts the request out.
local counters = require "sluice.counters"
local http = require "sluice.access_http"
local names = require "sluice.access_names"
local outgoing = require "sluice.outgoing"
local phases = require "sluice.phases"

local concat, gsub, ipairs, lower, match, sub, type = table.concat, string.gsub, ipairs, string.lower, string.match, string.sub,
  type
local ngx = ngx
local add, fill, template_problem = outgoing.add, outgoing.fill, outgoing.template_problem

local M = {}

-- Whoever sets these says where a request goes and where it ends.
local FRAMING = outgoing.set("connection content-length expect host http2-settings keep-alive proxy proxy-connection te trailer "
  .. "transfer-encoding upgrade")

-- What is wrong with it; nil: nothing.
function M.problem(auth)
  local why = outgoing.service_problem(auth, "auth")
  if why then return why end
  if type(auth.method) ~= "string" or not match(auth.method, "^%u+$") then return "auth: method is none" end
  local headers = auth.headers or {}
  if type(headers) ~= "table" or #headers > 64 then return "auth: headers are no list" end
  for _, name in ipairs(headers) do
    if type(name) ~= "string" or #name > 128 or not match(name, "^[%w_-]+$") then return "auth: a header has no name" end
    if FRAMING[lower(name)] then return "auth: header " .. name .. " is not for a service to say" end
  end
  return auth.signin and template_problem(auth.signin, "signin")
    or auth.redirect and template_problem(auth.redirect, "redirect") or nil
end

-- Of the connection to us, or of a body that is not sent on; and what we say ourselves.
local NOT_PASSED = outgoing.set(outgoing.HOP .. " x-auth-request-redirect x-forwarded-for x-forwarded-proto x-original-method "
  .. "x-original-url x-real-ip x-request-id x-scheme x-sent-from")

local function request_text(guard, var)
  local lines = outgoing.begin(guard.method, fill(guard.target, var), guard.authority, NOT_PASSED)
  if not lines then return nil end
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
  local guard = outgoing.service(auth)
  guard.method, guard.signin, guard.redirect, guard.headers = auth.method, auth.signin, auth.redirect, auth.headers or {}
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
