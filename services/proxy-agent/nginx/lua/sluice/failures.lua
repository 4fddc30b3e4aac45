-- What becomes of a peer, and of its cluster, when a request has failed there.
local holds = require "sluice.holds"

local M = {}

-- Peers that are slow may be so because there is too much to do: while their cluster answers at all, no more than this
-- part of an upstream's is put on hold for that, or the rest would be next.
local SLOW_PART = 0.5

local function too_many_slow(u, list)
  if list.held or holds.silent(list.name) then return false end
  local held = 0
  for _, list in ipairs(u.lists) do
    for _, peer in ipairs(list.peers) do
      if peer.held then held = held + 1 end
    end
  end
  return held > 0 and held + 1 > u.size * SLOW_PART
end

-- Where nobody of its cluster answers it is not this peer alone: it is tried again as soon as another would be.
local function others_answer(list, peer)
  for _, other in ipairs(list.peers) do
    if other ~= peer and not other.held and not other.misses then return true end
  end
  return false
end

-- A try of a request has failed. 504: it took too long, to connect or to answer.
function M.note(u, peer, status)
  local list = peer.list
  -- Of a whole cluster that is cut off or frozen not every peer shall cost three requests their patience.
  if status == 504 then
    u.struck = u.struck or {}
    u.struck[list.cluster] = true
    u.watched = true
    if #u.lists > 1 then
      holds.strike(u.id, list.name, list.held, "cluster")
    else
      holds.count(list.name)
    end
    if not peer.held and too_many_slow(u, list) then return end
  end
  holds.strike(u.id, peer.name, peer.held, "peer", others_answer(list, peer))
end

return M
