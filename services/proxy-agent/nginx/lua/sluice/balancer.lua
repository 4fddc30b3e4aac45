-- Which peer: pure choice over an upstream of upstreams.lua.
local holds = require "sluice.holds"
local rendezvous = require "sluice.rendezvous"
local upstreams = require "sluice.upstreams"

local now, random = ngx.now, math.random
local AGAIN, DRAINING = upstreams.AGAIN, upstreams.DRAINING
local rank = rendezvous.rank

local M = {}

-- Smooth weighted round robin, as nginx's own; with equal weights that is taking turns.
local function next_turn(u)
  local peers, n = u.active, u.count
  if u.equal then
    local i = u.turn
    u.turn = i < n and i + 1 or 1
    return peers[i]
  end
  if u.prob then
    local i = random(n)
    if random() >= u.prob[i] then i = u.alias[i] end
    return peers[i]
  end
  local best
  for i = 1, n do
    local peer = peers[i]
    peer.turn = peer.turn + peer.weight
    if not best or peer.turn > best.turn then best = peer end
  end
  best.turn = best.turn - u.total
  return best
end

-- A hold that ended: one request of all workers tries it, the others go on without it. `safe`: the request may be
-- sent twice, so that a failed trial costs it time only; others try only what nobody safe came for. `own`: the only
-- peer that this request would try.
function M.trial(u, safe, own)
  local trials = u.trials
  if not trials then return nil end
  local time = now()
  if own and own.misses or not own and u.next_trial and time < u.next_trial then return nil end
  for _, each in ipairs(trials) do
    local mine = not own or each.peer == own or each.list == own.list
    if mine and (safe or time > each.ends + holds.HOLD) and holds.try(each.name) then
      return own or each.peer or each.peers[random(#each.peers)]
    end
  end
  if not own then u.next_trial = time + 1 end
  return nil
end
local trial = M.trial

function M.first(u, safe)
  local n = u.count
  if n == 0 then return nil end
  if u.trials then
    local peer = trial(u, safe)
    if peer then return peer end
  end
  if n == 1 then return u.active[1] end
  return next_turn(u)
end

-- Another peer for a request that has failed on `tried` (peer names and cluster names): the least unwanted, of another
-- cluster where there is one; nil when all were tried. Of several by `key`, where there is one, else by chance.
function M.other(u, tried, key)
  local best, found, seen = nil, nil, 0
  for _, list in ipairs(u.lists) do
    local base = tried[list.cluster] and AGAIN or 0
    for _, peer in ipairs(list.usable) do
      if not tried[peer.name] then
        local score = peer.score + base
        if not best or score < best then
          best, found, seen = score, peer, 1
        elseif score == best then
          seen = seen + 1
          if key then
            if rank(peer, key, u.equal) > rank(found, key, u.equal) then found = peer end
          elseif random(seen) == 1 then
            found = peer
          end
        end
      end
    end
  end
  return found
end

-- Whether a peer is among those that new requests are sent to.
function M.welcomes(peer)
  return peer.asked
end

-- Whether a peer goes on with the sessions that it has: one that terminates does, and one of a drained cluster.
function M.serves(u, peer)
  return peer.score - (peer.draining and DRAINING or 0) <= u.reach
end

-- The peer at an address as nginx writes it, e.g. 10.0.0.1:8080.
function M.named(u, address)
  for _, list in ipairs(u.lists) do
    for _, peer in ipairs(list.peers) do
      if peer.address .. ":" .. peer.port == address then return peer end
    end
  end
  return nil
end

-- Whether a peer outside these clusters would be a good choice: only then is it worth cutting a request short.
function M.elsewhere(u, cluster, tried)
  if not u.healthy then return false end
  local only = u.only_cluster
  if only then return only ~= cluster and not (tried and tried[only]) end
  if not tried then return true end
  for _, other in ipairs(u.good) do
    if other ~= cluster and not tried[other] then return true end
  end
  return false
end

return M
