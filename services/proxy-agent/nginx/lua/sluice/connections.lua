-- How many requests this proxy has in hand at a peer, where its upstream limits them: counted for all workers together,
-- and by worker as well, so that what a worker took with it when it died is given back.
--
--   k:<name>           requests in hand at a peer, as upstreams.lua names it
--   w:<pid>|<name>     those of one worker
--   r:w:…              somebody is giving those back
local balancer = require "sluice.balancer"
local ffi = require "ffi"

ffi.cdef "int kill(int pid, int sig);"

local F = ngx.shared.sluice_holds
local pid = ngx.worker.pid

local M = {}

-- Seconds; longer than workers take that start at once, shorter than until a process has the same number.
local RECLAIMED = 10

local function add(name, n)
  local own = "w:" .. pid() .. "|" .. name
  local left = F:incr("k:" .. name, n, 0)
  if F:incr(own, n, 0) == 0 then F:delete(own) end
  return left
end

local function take(peer, most)
  local count = add(peer.name, 1)
  -- Memory that is full limits nobody.
  if not count or count <= most then return true end
  add(peer.name, -1)
  return false
end

function M.release(state)
  local name = state.connection
  if not name then return end
  state.connection = nil
  add(name, -1)
end

-- `peer`, or another that has room; nil: none has. `state` is the request's: what it had before is given back.
function M.admit(u, peer, state)
  M.release(state)
  local most, full = u.connections, nil
  while peer and not take(peer, most) do
    full = full or setmetatable({}, { __index = state.tried })
    full[peer.name] = true
    peer = balancer.other(u, full)
  end
  state.connection = peer and peer.name
  return peer
end

-- A worker that starts gives back what those had that are no more.
function M.reclaim()
  for _, key in ipairs(F:get_keys(0)) do
    local owner, name = key:match("^w:(%d+)|(.*)$")
    -- One of those that start at once.
    if owner and ffi.C.kill(tonumber(owner), 0) ~= 0 and F:add("r:" .. key, true, RECLAIMED) then
      local count = F:get(key)
      F:delete(key)
      if count then F:incr("k:" .. name, -count, 0) end
    end
  end
end

return M
