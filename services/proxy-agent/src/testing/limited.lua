-- Asked by limits.test.ts: which requests a limit lets pass. Its clock stands still but for `after` seconds before each.
local cjson = require "cjson.safe"
local counters = require "sluice.counters"
local limits = require "sluice.limits"

local M = { now = 1000 }

local L = ngx.shared.sluice_limits
local asked = 0

local function guard_of(given)
  local problem = limits.problem(given)
  if problem then error(problem) end
  local target = {}
  limits.compile(given, target)
  return target.guards[1]
end

-- No room for anything new but by forgetting.
local function fill()
  local filler, n = ("x"):rep(100), 0
  repeat
    n = n + 1
    local ok = L:safe_set("filler " .. n, filler)
  until not ok
end

function M.serve()
  ngx.req.read_body()
  local doc = assert(cjson.decode(ngx.req.get_body_data()))
  asked = asked + 1
  local guard = guard_of(doc.limits)
  if doc.full then fill() end
  local passed = {}
  for i, seconds in ipairs(doc.after) do
    M.now = M.now + seconds
    local var = { binary_remote_addr = doc.addresses and doc.addresses[i] or "me" .. asked }
    passed[i] = not guard.check(guard, var, {})
  end
  ngx.print(cjson.encode { passed = passed, counters = counters.all() })
end

return M
