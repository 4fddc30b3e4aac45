-- Regular expressions that users wrote. PCRE runs them for everybody's requests, so each match is bounded
-- (lua_regex_match_limit), and one that reaches the bound says so instead of being taken for no match: what it guards
-- must not fall to the next path.
local re_find, re_match = ngx.re.find, ngx.re.match

local M = {}

-- Bytes of stack for compiled expressions. Its own is 32 KiB, in which `(/[a-z]+)*` has no room for a path of 7,000.
local STACK = 256 * 1024

-- In nginx's master, before any expression is used.
function M.init()
  require("ngx.re").opt("jit_stack_size", STACK)
end

-- As ingress-nginx has them: without case, and the path only has to begin so.
local function anchored(text)
  return "^" .. text
end

-- Why it cannot be used; nil: it can.
function M.problem(text)
  local _, _, why = re_find("", anchored(text), "i")
  return why
end

function M.compile(text)
  return anchored(text)
end

-- i: without case, j: as machine code, o: kept by the worker.
local OPTIONS = "ijo"

-- Whether it matches; or nil and why that cannot be told.
function M.matches(pattern, uri)
  local from, _, why = re_find(uri, pattern, OPTIONS)
  if why then return nil, why end
  return from ~= nil
end

local NONE = {}

-- What its groups caught, by number.
function M.groups(pattern, uri)
  return pattern and re_match(uri, pattern, OPTIONS) or NONE
end

return M
