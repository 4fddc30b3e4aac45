-- Counts of a worker, added to shared memory once a second: a request costs an addition, not a lock.
local F = ngx.shared.sluice_holds

local M = {}
local pending = {}

function M.add(name, n)
  pending[name] = (pending[name] or 0) + (n or 1)
end

-- Of a whole request: its class of status.
local classes = { 0, 0, 0, 0, 0 }
local floor = math.floor

function M.status(status)
  local class = floor(status / 100)
  -- 000 and nonsense count as what they were to the client: an error.
  if class < 1 or class > 5 then class = 5 end
  classes[class] = classes[class] + 1
end

-- Called before counts are handed on, to add what is counted elsewhere.
local watched = {}

function M.watch(read)
  watched[#watched + 1] = read
end

function M.flush()
  for i = 1, #watched do watched[i](M.add) end
  for class = 1, 5 do
    if classes[class] > 0 then
      F:incr("count:requests_" .. class .. "xx", classes[class], 0)
      classes[class] = 0
    end
  end
  for name, n in pairs(pending) do
    F:incr("count:" .. name, n, 0)
    pending[name] = nil
  end
end

local names = { "requests_1xx", "requests_2xx", "requests_3xx", "requests_4xx", "requests_5xx", "retries", "retries_refused", "ejections",
  "limited_requests", "limited_connections", "limits_forgotten", "limits_uncounted", "auth_failures", "passwords_unchecked",
  "handshakes_begun", "handshakes_full", "handshakes_resumed", "mirrored", "mirror_failures", "mirror_drops" }

function M.all()
  M.flush()
  local out = {}
  for _, name in ipairs(names) do out[name] = F:get("count:" .. name) or 0 end
  return out
end

return M
