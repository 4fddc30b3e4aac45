-- How often a client may come, and how much it gets. Rates are leaky buckets as nginx's limit_req has them, without delay:
-- of each the time at which it will be empty is kept in shared memory, and one atomic addition says both what it was and
-- whether this request still fits. It expires when it is empty.
local counters = require "sluice.counters"
local open = require "sluice.limits_open"
local phases = require "sluice.phases"
local ranges = require "sluice.access_ranges"
local whole = require("sluice.values").is_whole

local L = ngx.shared.sluice_limits
local ipairs, max, now, type = ipairs, math.max, ngx.now, type
local count = counters.add

local M = {}

local function rates_problem(rates)
  if rates == nil then return nil end
  if type(rates) ~= "table" or #rates == 0 or #rates > 4 then return "rates are no list of 1 to 4" end
  for _, rate in ipairs(rates) do
    if type(rate) ~= "table" then return "a rate is no object" end
    if not whole(rate.requests, 1, 1e9) or not whole(rate.seconds, 1, 86400) or not whole(rate.burst, 0, 1e12) then
      return "a rate has no whole numbers"
    end
  end
  return nil
end

-- What is wrong with them; nil: nothing.
function M.problem(limits)
  if type(limits) ~= "table" then return "limits are no object" end
  if type(limits.of) ~= "string" or #limits.of == 0 or #limits.of > 512 then return "limits are nobody's" end
  for _, name in ipairs { "connections", "bytesPerSecond", "freeBytes" } do
    if limits[name] ~= nil and not whole(limits[name], 1, 1e13) then return name .. " is no whole number" end
  end
  return rates_problem(limits.rates) or limits.except and ranges.problem(limits.except) or nil
end

-- Seconds after which a bucket that holds next to nothing is forgotten at the latest: nginx counts in milliseconds.
local SOON = 0.001

-- Whether one more fits. Where there is no room to count it does: a limit that cannot be held must not close a service.
local function take(rate, key, time)
  local interval = rate.interval
  local ends, _, forced = L:incr(key, interval, time, max(SOON, interval))
  if not ends then
    count("limits_uncounted")
    return true
  end
  if forced then count("limits_forgotten") end
  if ends < time + interval then
    -- It was empty before now, and is still there since nobody looks at that to the microsecond.
    ends = time + interval
    L:set(key, ends, max(SOON, interval))
    return true
  end
  if ends - time > rate.most then
    L:incr(key, -interval)
    return false
  end
  L:expire(key, max(SOON, ends - time))
  return true
end

local function rates_hold(rates, address)
  local time = now()
  for i = 1, #rates do
    if not take(rates[i], rates[i].key .. address, time) then
      -- As nginx: what one limit refuses counts for none.
      for before = 1, i - 1 do L:incr(rates[before].key .. address, -rates[before].interval) end
      return false
    end
  end
  return true
end

local function leave(state)
  open.leave(state.open)
end

local function check(guard, var, state)
  local address = var.binary_remote_addr
  if not (guard.except and ranges.has(guard.except, address)) then
    if guard.rates and not rates_hold(guard.rates, address) then
      count("limited_requests")
      return "too-many-requests"
    end
    if guard.connections then
      local own, forced = open.enter_request(guard.of .. "|" .. address, guard.connections)
      if own == false then
        count("limited_connections")
        return "too-many-connections"
      end
      if own then
        state.open, state.ended = own, leave
        if forced then count("limits_forgotten") end
      else
        count("limits_uncounted")
      end
    end
  end
  if guard.bytes then
    var.limit_rate = guard.bytes
    if guard.free then var.sluice_free_bytes = guard.free end
  end
  return nil
end

function M.compile(limits, target)
  local rates
  for i, rate in ipairs(limits.rates or {}) do
    local interval = rate.seconds / rate.requests
    rates = rates or {}
    rates[i] = {
      -- The limit is part of the name: another one begins anew.
      key = limits.of .. "|" .. string.format("%d/%d|", rate.requests, rate.seconds),
      interval = interval, most = (rate.burst + 1) * interval + 1e-6,
    }
  end
  phases.guard(target, {
    check = check, of = limits.of, rates = rates, connections = limits.connections,
    except = limits.except and ranges.compile(limits.except),
    bytes = limits.bytesPerSecond and string.format("%d", limits.bytesPerSecond),
    free = limits.freeBytes and string.format("%d", limits.freeBytes),
  })
end

return M
