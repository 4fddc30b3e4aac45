-- Counts of a worker, added to shared memory once a second: a request costs an addition, not a lock.
local F = ngx.shared.sluice_holds

local M = {}
local pending = {}

function M.add(name)
  pending[name] = (pending[name] or 0) + 1
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

function M.flush()
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

local names = { "requests_1xx", "requests_2xx", "requests_3xx", "requests_4xx", "requests_5xx", "retries", "ejections" }

function M.all()
  M.flush()
  local out = {}
  for _, name in ipairs(names) do out[name] = F:get("count:" .. name) or 0 end
  return out
end

return M
