-- What a route makes of its requests on their way to a peer, and of redirects: texts with $1 to $9 in them, taken apart
-- once per worker and filled per request. Nothing of them is ever evaluated.
local patterns = require "sluice.patterns"
local is_text = require("sluice.values").is_text

local byte, concat, find, format, gsub, match, sub = string.byte, table.concat, string.find, string.format, string.gsub,
  string.match, string.sub
local type = type
local SLASH, QUESTION = byte("/"), byte("?")

local M = {}

local KEEPS = { groups = true, query = true, scheme = true, uri = true }

-- What is wrong with a redirect; nil: nothing.
function M.redirect_problem(redirect)
  if type(redirect) ~= "table" then return "redirect is no list" end
  local code, to, keeps = redirect[1], redirect[2], redirect[3]
  if type(code) ~= "number" or code < 300 or code > 308 or code % 1 ~= 0 then return "code is not 300 to 308" end
  if not is_text(to, "[^\33-\126]", 2048) then return "redirect is no URL" end
  -- Behind // stands a host.
  if not find(to, "^https?://") and (sub(to, 1, 1) ~= "/" or sub(to, 2, 2) == "/") then
    return "redirect is neither http nor a path"
  end
  if keeps == nil then return nil end
  if type(keeps) ~= "table" then return "what a redirect keeps is no list" end
  for _, each in ipairs(keeps) do
    if not KEEPS[each] then return "what a redirect keeps is unknown" end
  end
  return nil
end

-- What is wrong with what is said of requests; nil: nothing.
function M.problem(more)
  local to, vhost, prefix = more.rewrite, more.vhost, more.forwardedPrefix
  if to ~= nil and not (is_text(to, "[^\33-\126]", 2048) and find(to, "^[/$]")) then return "rewrite is no path" end
  if vhost ~= nil and not is_text(vhost, "[^%w._:%[%]%-]", 259) then return "vhost is no host" end
  if prefix ~= nil and not is_text(prefix, "[^\33-\126]", 2048) then return "prefix is no header's value" end
  return nil
end

-- "/a/$1" -> { "/a/", 1 }
local function parts_of(text)
  local parts, at = {}, 1
  while true do
    local from, to, digit = find(text, "%$([1-9])", at)
    if at < (from or #text + 1) then parts[#parts + 1] = sub(text, at, (from or #text + 1) - 1) end
    if not from then return parts end
    parts[#parts + 1] = tonumber(digit)
    at = to + 1
  end
end

local function percent(char)
  return format("%%%02X", byte(char))
end

-- What may stand in a path as it is (RFC 3986); all else, and what was decoded, goes percent-encoded.
local function in_path(text)
  return (gsub(text, "[^%w%-._~!$&'()*+,;=:@/]", percent))
end

local function in_query(text)
  return (gsub(text, "[^%w%-._~]", percent))
end

local function as_it_is(text)
  return text
end

local function fill(parts, groups, escape)
  local out = {}
  for i = 1, #parts do
    local part = parts[i]
    out[i] = type(part) == "number" and escape(groups[part] or "") or part
  end
  return concat(out)
end

-- nil: requests go on as they came.
function M.compile(pattern, more)
  if not more or not (more.rewrite or more.vhost) then return nil end
  local out = { pattern = pattern, vhost = more.vhost }
  if more.rewrite then
    local path, query = match(more.rewrite, "^([^?]*)%??(.*)$")
    out.path = parts_of(path)
    out.query = query ~= "" and parts_of(query) or nil
    out.adds = sub(more.rewrite, -1) ~= "?"
    out.prefix = more.forwardedPrefix and parts_of(more.forwardedPrefix)
  end
  return out
end

function M.compile_redirect(pattern, redirect)
  local keeps = {}
  for _, each in ipairs(redirect[3] or {}) do keeps[each] = true end
  local rest = match(redirect[2], "^%a+(://.*)$")
  return {
    pattern = pattern, code = redirect[1], parts = keeps.groups and parts_of(redirect[2]) or { redirect[2] },
    query = keeps.query, uri = keeps.uri, scheme = keeps.scheme and rest and true or false,
  }
end

-- The path and query that came. An absolute-form request may have had none.
local function as_it_came(var)
  local uri = var.request_uri
  if byte(uri) == SLASH then return uri end
  return byte(uri) == QUESTION and "/" .. uri or in_path(var.uri)
end

-- What a peer is asked for, and the X-Forwarded-Prefix that it gets (nil: none).
function M.request(rewriting, var)
  local parts = rewriting.path
  if not parts then return as_it_came(var), nil end
  local groups = patterns.groups(rewriting.pattern, var.uri)
  local uri = in_path(fill(parts, groups, as_it_is))
  if byte(uri) ~= SLASH then uri = "/" .. uri end
  local query, args = rewriting.query and fill(rewriting.query, groups, in_query), rewriting.adds and var.args
  if args and args ~= "" then query = query and query .. "&" .. args or args end
  if query then uri = uri .. "?" .. query end
  local prefix = rewriting.prefix
  return uri, prefix and gsub(fill(prefix, groups, as_it_is), "%c", "")
end

-- Where a client is sent. `scheme` and `host` are what it asked for.
function M.target(redirect, var, scheme, host)
  local groups = patterns.groups(redirect.pattern, var.uri)
  local to = fill(redirect.parts, groups, in_path)
  if redirect.scheme then to = gsub(to, "^%a+", scheme, 1) end
  if byte(to) == SLASH then to = scheme .. "://" .. host .. to end
  -- As ingress-nginx does it for other names of a host.
  if redirect.uri then to = to .. gsub(var.request_uri, "/$", "") end
  local args = redirect.query and var.args
  if args and args ~= "" then to = to .. (find(to, "?", 1, true) and "&" or "?") .. args end
  return to
end

return M
