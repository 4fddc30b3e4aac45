-- How a route wants its upstream balanced, where that is not by taking turns: checked when the row comes, and compiled
-- once per worker. Which variables a key may be made of is decided here as well; nothing of it is ever evaluated.
local is_text = require("sluice.values").is_text

local concat = table.concat
local lower, match, type = string.lower, string.match, type
local var = ngx.var

local M = {}

local VARIABLES = {}
for name in ("args binary_remote_addr host https query_string remote_addr remote_user request_method request_uri scheme "
  .. "server_port uri"):gmatch("%S+") do VARIABLES[name] = true end

local function is_variable(name)
  if type(name) ~= "string" or #name > 128 then return false end
  return VARIABLES[name] or match(name, "^http_[a-z0-9_]+$") or match(name, "^arg_[a-z0-9_]+$")
    or match(name, "^cookie_[a-z0-9_]+$")
end

local function is_seconds(value)
  return value == nil or type(value) == "number" and value >= 0 and value <= 1e10 and value % 1 == 0
end

local function is_flag(value)
  return value == nil or type(value) == "boolean"
end

local SAME_SITE = { None = true, Lax = true, Strict = true }

local function cookie_problem(cookie)
  if type(cookie) ~= "table" then return "cookie is no object" end
  if not is_text(cookie.name, "[^%w_.%-]", 128) then return "cookie's name is no name" end
  if not is_text(cookie.path, "[^\33-\58\60-\126]", 4096) then return "cookie's path is no path" end
  if cookie.domain ~= nil and not is_text(cookie.domain, "[^%w.%-]", 255) then return "cookie's domain is no host" end
  if cookie.sameSite ~= nil and not SAME_SITE[cookie.sameSite] then return "sameSite is none of None, Lax, Strict" end
  if not is_seconds(cookie.maxAge) or not is_seconds(cookie.expires) then return "an age is no whole number" end
  for _, name in ipairs { "secure", "persistent", "changeOnFailure" } do
    if not is_flag(cookie[name]) then return "cookie's " .. name .. " is neither true nor false" end
  end
  return nil
end

local function hash_problem(by)
  if type(by) ~= "table" or #by == 0 or #by > 32 then return "by is no list of 1 to 32 parts" end
  for _, part in ipairs(by) do
    if type(part) ~= "table" then return "a part of the key is no object" end
    if part.variable ~= nil then
      if not is_variable(part.variable) then return "no key can be made of this variable" end
    elseif type(part.text) ~= "string" or #part.text > 1024 then
      return "a part of the key is neither text nor a variable"
    end
  end
  return nil
end

-- What is wrong with it; nil: nothing. A method that this version does not know is no fault: it takes turns.
function M.problem(balance)
  if type(balance) ~= "table" or type(balance.method) ~= "string" then return "balance has no method" end
  if balance.method == "hash" then return hash_problem(balance.by) end
  if balance.method == "cookie" then return cookie_problem(balance.cookie) end
  return nil
end

local function cookie_policy(cookie)
  local rest = { "; Path=", cookie.path }
  if cookie.maxAge then rest[#rest + 1] = "; Max-Age=" .. string.format("%d", cookie.maxAge) end
  if cookie.domain then rest[#rest + 1] = "; Domain=" .. cookie.domain end
  if cookie.secure then rest[#rest + 1] = "; Secure" end
  rest[#rest + 1] = "; HttpOnly"
  if cookie.sameSite then rest[#rest + 1] = "; SameSite=" .. cookie.sameSite end
  return {
    method = "cookie", variable = "cookie_" .. lower(cookie.name), name = cookie.name, rest = concat(rest),
    expires = cookie.expires, by_scheme = cookie.secure == nil, persistent = cookie.persistent == true,
    changes = cookie.changeOnFailure == true,
  }
end

-- nil: take turns.
local function compiled(balance)
  local method = balance.method
  if method == "ewma" or method == "least_conn" then return { method = method } end
  if method == "hash" then return { method = method, by = balance.by, values = {} } end
  if method == "cookie" then return cookie_policy(balance.cookie) end
  return nil
end

function M.compile(balance, target)
  target.policy = compiled(balance)
end

-- The text that a request is hashed by. A variable that is not there is empty, as in nginx.
function M.text(policy)
  local by = policy.by
  if #by == 1 then return by[1].text or var[by[1].variable] or "" end
  local values = policy.values
  for i = 1, #by do
    local part = by[i]
    values[i] = part.text or var[part.variable] or ""
  end
  return concat(values)
end

return M
