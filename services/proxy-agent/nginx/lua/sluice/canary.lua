-- Paths of which another upstream has some of the requests: checked when the row comes, split into their two sides once per
-- worker. A request is judged by what it says of itself, and by chance.
local policies = require "sluice.policies"
local session_side = require "sluice.session_side"
local is_text = require("sluice.values").is_text

local lower, match, type = string.lower, string.match, type
local random, re_find, setmetatable = math.random, ngx.re.find, setmetatable

local M = {}

local function is_count(value, least)
  return type(value) == "number" and value >= least and value <= 1000000 and value % 1 == 0
end

local function header_problem(header)
  if type(header) ~= "table" then return "header is no object" end
  local name, value, pattern = header.name, header.value, header.pattern
  if type(name) ~= "string" or #name > 128 or not match(name, "^[a-z0-9_]+$") then return "header's name is no name" end
  -- In UTF-8 a character has up to four bytes.
  if value ~= nil and not is_text(value, "%c", 4096) then return "header's value is no text" end
  if pattern ~= nil then
    if not is_text(pattern, "%c", 8192) then return "header's pattern is no text" end
    local _, _, why = re_find("", pattern)
    return why
  end
  return nil
end

-- What is wrong with it; nil: nothing.
function M.problem(canary)
  if type(canary) ~= "table" then return "canary is no object" end
  local id, cookie, of = canary.upstream, canary.cookie, canary.of
  if type(id) ~= "string" or #id > 128 or not match(id, "^[0-9a-z-]+$") then return "canary's upstream is no name" end
  if canary.weight ~= nil and not is_count(canary.weight, 0) then return "canary's weight is no number" end
  if of ~= nil and not is_count(of, 1) then return "what canary's weight is of is no number" end
  if cookie ~= nil and (not is_text(cookie, "[^%w_.%-]", 128)) then return "canary's cookie is no name" end
  local why = canary.header ~= nil and header_problem(canary.header)
    or canary.balance ~= nil and policies.problem(canary.balance)
  return why or nil
end

-- One of the two upstreams of a path; all else is as the path says.
local function side(target, id, policy)
  return setmetatable({ id = id, policy = policy or false }, { __index = target })
end

-- A target that leads nowhere itself; proxy.lua asks `takes` and goes on with one of the sides. After `balance`.
function M.compile(canary, target)
  local policy, header = target.policy, canary.header or {}
  local own = {}
  if canary.balance then policies.compile(canary.balance, own) end
  local fork = {
    weight = canary.weight or 0, of = canary.of or 100,
    header = header.name and "http_" .. header.name, value = header.value, pattern = header.pattern,
    cookie = canary.cookie and "cookie_" .. lower(canary.cookie),
  }
  if canary.sticky and policy and policy.method == "cookie" then
    fork.session = policy.variable
    policy, own.policy = session_side.split(policy)
  end
  fork.main, fork.canary = side(target, target.id, policy), side(target, canary.upstream, own.policy)
  target.fork, target.id = fork, ""
end

local function by_header(fork, header)
  if fork.value then return header == fork.value or nil end
  if fork.pattern then
    local from, _, why = re_find(header, fork.pattern, "jo")
    if from then return true end
    if why then
      if not fork.told then
        fork.told = true
        ngx.log(ngx.WARN, "sluice: regular expression ", fork.pattern, " of a canary gave up: ", why)
      end
      return false
    end
    return nil
  end
  if header == "always" then return true end
  if header == "never" then return false end
  return nil
end

-- Whether a request goes to the canary.
function M.takes(fork, var)
  if fork.session then
    local began = session_side.of(var[fork.session])
    if began ~= nil then return began end
  end
  local header = fork.header and var[fork.header]
  if header then
    local said = by_header(fork, header)
    if said ~= nil then return said end
  end
  local cookie = fork.cookie and var[fork.cookie]
  if cookie == "always" then return true end
  if cookie == "never" then return false end
  local weight = fork.weight
  return weight > 0 and random(fork.of) <= weight
end

return M
