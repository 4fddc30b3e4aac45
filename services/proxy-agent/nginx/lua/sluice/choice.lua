-- The peer of a request whose route has a policy: one function a method for the first try, one for the next ones.
local balancer = require "sluice.balancer"
local loads = require "sluice.loads"
local policies = require "sluice.policies"
local rendezvous = require "sluice.rendezvous"
local sessions = require "sluice.sessions"

local M = { first = {}, other = {} }

local function key_of(policy)
  return rendezvous.key(policies.text(policy))
end

function M.first.hash(u, policy, safe)
  local peer = balancer.trial(u, safe)
  if peer then return peer end
  return rendezvous.winner(u.active, u.count, key_of(policy), u.equal)
end

-- The key's next choice, so that all requests of a key fail over to one peer.
function M.other.hash(u, policy, tried)
  return balancer.other(u, tried, key_of(policy))
end

local function by_load(choose)
  return function(u, _, safe, state)
    if u.count == 0 then return nil end
    local peer = balancer.trial(u, safe) or choose(u)
    loads.begin(state, peer)
    return peer
  end
end

M.first.least_conn, M.first.ewma = by_load(loads.least_busy), by_load(loads.fastest)

local function other_by_load(u, _, tried, state)
  local peer = balancer.other(u, tried)
  if peer then loads.begin(state, peer) end
  return peer
end

M.other.least_conn, M.other.ewma = other_by_load, other_by_load

M.first.cookie, M.other.cookie = sessions.first, sessions.other

-- Methods that look back at a request when it has ended.
M.measures = { least_conn = true, ewma = true }

return M
