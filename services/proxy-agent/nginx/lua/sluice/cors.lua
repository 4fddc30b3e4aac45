-- CORS, as ingress-nginx does it: an OPTIONS request of an origin that may is answered here, every other answer to such
-- an origin gets the headers, and what the peer said under their names is replaced. To other origins nothing is added.
local phases = require "sluice.phases"
local is_text = require("sluice.values").is_text

local ngx = ngx
local find, lower, match, sub = string.find, string.lower, string.match, string.sub
local get_method = ngx.req.get_method
local type = type

local M = {}

local MOST_ORIGINS = 64

-- What is wrong with it; nil: nothing.
function M.problem(cors)
  if type(cors) ~= "table" then return "cors is no object" end
  local origins = cors.origins
  if origins ~= nil then
    if type(origins) ~= "table" or #origins > MOST_ORIGINS then return "origins is no list, or too long" end
    for _, origin in ipairs(origins) do
      if not is_text(origin, "[^a-z0-9.:/*-]", 300) then return "an origin is none" end
    end
  end
  for _, name in ipairs { "methods", "headers" } do
    if not is_text(cors[name], "[^\32-\126]", 2048) then return name .. " is no header's value" end
  end
  if cors.expose ~= nil and not is_text(cors.expose, "[^\32-\126]", 2048) then return "expose is no header's value" end
  local age = cors.maxAge
  if type(age) ~= "number" or age < 0 or age % 1 ~= 0 then return "maxAge is no whole number" end
  return nil
end

-- What the origin of this request is told; nil: nothing.
local function allowed(policy, var)
  if policy.every then return "*" end
  local origin = var.http_origin
  if not origin then return nil end
  local asked = lower(origin)
  if policy.exact[asked] then return origin end
  local patterns = policy.patterns
  for i = 1, #patterns do
    local before, behind = patterns[i].before, patterns[i].behind
    local rest = #asked - #behind
    if rest > #before and sub(asked, 1, #before) == before and sub(asked, rest + 1) == behind
      and not find(sub(asked, #before + 1, rest), "[^a-z0-9-]") then
      return origin
    end
  end
  return nil
end

local function vary()
  local said = ngx.header["Vary"]
  if type(said) == "table" then said = table.concat(said, ", ") end
  if not said or said == "" then
    ngx.header["Vary"] = "Origin"
  elseif said ~= "*" and not find(lower(said), "origin", 1, true) then
    ngx.header["Vary"] = said .. ", Origin"
  end
end

local function preflight(guard, var)
  if get_method() ~= "OPTIONS" or not allowed(guard.policy, var) then return nil end
  return ngx.exit(ngx.HTTP_NO_CONTENT)
end

local function add(filter, var)
  local policy = filter.policy
  -- A cache may keep the answer: it must know that to another origin it is another one.
  if not policy.every then vary() end
  local origin = allowed(policy, var)
  if not origin then return end
  local header = ngx.header
  header["Access-Control-Allow-Origin"] = origin
  if policy.credentials then header["Access-Control-Allow-Credentials"] = "true" end
  header["Access-Control-Allow-Methods"] = policy.methods
  header["Access-Control-Allow-Headers"] = policy.headers
  if policy.expose then header["Access-Control-Expose-Headers"] = policy.expose end
  header["Access-Control-Max-Age"] = policy.maxAge
end

function M.compile(cors, target)
  local policy = {
    every = cors.origins == nil, exact = {}, patterns = {}, methods = cors.methods, headers = cors.headers,
    expose = cors.expose, maxAge = string.format("%d", cors.maxAge), credentials = cors.credentials == true,
  }
  for _, origin in ipairs(cors.origins or {}) do
    local before, behind = match(origin, "^(%a+://)%*(%..*)$")
    if before then
      policy.patterns[#policy.patterns + 1] = { before = before, behind = behind }
    else
      policy.exact[origin] = true
    end
  end
  phases.guard(target, { check = preflight, policy = policy })
  phases.filter(target, { apply = add, policy = policy })
end

return M
