-- Attributes of the cookies that peers set, as nginx's proxy_cookie_domain and proxy_cookie_path change them. The cookie
-- of a session (sessions.lua) is ours and stays.
local phases = require "sluice.phases"

local ngx = ngx
local find, gsub, lower, sub = string.find, string.gsub, string.lower, string.sub
local type = type

local M = {}

local function is_value(value)
  return type(value) == "string" and #value > 0 and #value <= 1024 and not find(value, "[^\33-\58\60-\126]")
end

-- What is wrong with it; nil: nothing.
function M.problem(cookies)
  if type(cookies) ~= "table" then return "cookies is no object" end
  for _, name in ipairs { "domain", "path" } do
    local change = cookies[name]
    if change ~= nil and (type(change) ~= "table" or not is_value(change.from) or not is_value(change.to)) then
      return "a cookie's " .. name .. " is none"
    end
  end
  return nil
end

local function undotted(domain)
  return lower(sub(domain, 1, 1) == "." and sub(domain, 2) or domain)
end

local changes = {}

function changes.domain(value, change)
  return undotted(value) == change.compared and change.to or nil
end

function changes.path(value, change)
  local from = change.from
  return sub(value, 1, #from) == from and change.to .. sub(value, #from + 1) or nil
end

local function changed(text, filter)
  if filter.session and sub(text, 1, #filter.session) == filter.session then return text end
  return (gsub(text, "(;%s*)([%w-]+)(%s*=%s*)([^;]*)", function(before, name, equals, value)
    local kind = lower(name)
    local change = filter[kind]
    local instead = change and changes[kind](gsub(value, "%s+$", ""), change)
    return instead and before .. name .. equals .. instead or nil
  end))
end

local function apply(filter)
  local cookies = ngx.header["Set-Cookie"]
  if not cookies then return end
  if type(cookies) == "string" then
    ngx.header["Set-Cookie"] = changed(cookies, filter)
    return
  end
  for i = 1, #cookies do cookies[i] = changed(cookies[i], filter) end
  ngx.header["Set-Cookie"] = cookies
end

function M.compile(cookies, target)
  local domain, path = cookies.domain, cookies.path
  phases.filter(target, {
    apply = apply,
    domain = domain and { compared = undotted(domain.from), to = domain.to },
    path = path,
    session = target.policy and target.policy.name and target.policy.name .. "=",
  })
end

return M
