-- Counts of a worker, added to shared memory once a second: a request costs an addition, not a lock.
local F = ngx.shared.sluice_holds

local M = {}
local pending = {}

function M.add(name)
  pending[name] = (pending[name] or 0) + 1
end

function M.flush()
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
