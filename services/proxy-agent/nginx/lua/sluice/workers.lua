-- Which workers listen. At a reload nginx starts the new ones, and only some time later tells the old ones to stop: a
-- request meanwhile may meet a worker that does not know the profile which its route is to be served by.
local settings = require "sluice.settings"

local D = ngx.shared.sluice_rows

local M = {}
-- nginx numbers its workers from 0; more than this many are not run.
local MOST = 256
local FOREVER = 10 * 365 * 86400

local function key(config, id)
  return "w:" .. config .. ":" .. id
end

-- In the master, at the start and at each reload.
function M.init()
  local now = D:get("config")
  if now ~= settings.config then
    D:set("config_before", now)
    D:set("config", settings.config)
    D:set("config_since", ngx.now())
  end
end

-- Whether this worker runs with a configuration that another has followed, at this time or later.
function M.followed_since(time)
  return D:get("config") ~= settings.config and time < D:get("config_since")
end

-- In a worker. One that died is followed by one of the same number.
function M.enter()
  local mine = key(settings.config, ngx.worker.id())
  D:set(mine, true)
  -- A timer that is not due is called when the worker begins to stop: then it has just closed its listening sockets.
  assert(ngx.timer.at(FOREVER, function(premature)
    if premature then D:delete(mine) end
  end))
end

-- How many still listen that run with the configuration before this one.
function M.old()
  local before = D:get("config_before")
  if not before or before == settings.config then return 0 end
  local count = 0
  for id = 0, MOST - 1 do
    if D:get(key(before, id)) then count = count + 1 end
  end
  return count
end

return M
