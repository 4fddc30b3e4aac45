-- Rendezvous hashing: of all peers the one whose own hash mixed with the key's is the greatest. A peer that comes takes
-- its share from all others alike, one that goes gives its keys to all others alike, and no other key moves. Nothing is
-- built beforehand, so that a change of peers costs nothing; and every worker of every proxy finds the same peer.
local bit = require "bit"
local bxor, lshift, rshift, tobit = bit.bxor, bit.lshift, bit.rshift, bit.tobit
local crc32, log = ngx.crc32_long, math.log

local M = {}

-- Bob Jenkins' 32-bit mix: each bit of the argument changes each bit of the result with the chance of one half.
local function mix(a)
  a = tobit(a + 0x7ed55d16 + lshift(a, 12))
  a = bxor(a, 0xc761c23c, rshift(a, 19))
  a = tobit(a + 0x165667b1 + lshift(a, 5))
  a = bxor(tobit(a + 0xd3a2646c), lshift(a, 9))
  a = tobit(a + 0xfd7046c5 + lshift(a, 3))
  return bxor(a, 0xb55a4f09, rshift(a, 16))
end

-- The key of a text.
function M.key(text)
  return mix(tobit(crc32(text)))
end

-- What a peer is known by, whichever upstream, worker or proxy asks.
function M.identity(peer)
  return peer.cluster .. "|" .. peer.address .. ":" .. peer.port
end

local function hash_of(peer)
  local hash = peer.hash
  if not hash then
    hash = M.key(M.identity(peer))
    peer.hash = hash
  end
  return hash
end

local function mixed_with(peer, key)
  return mix(bxor(hash_of(peer), key))
end

local function weighted(mixed, weight)
  return -weight / log((mixed + 2147483648.5) / 4294967296)
end

-- How much a peer wants a key, the greatest wins; with weights each wins its share of the keys.
function M.rank(peer, key, equal)
  local mixed = mixed_with(peer, key)
  return equal and mixed or weighted(mixed, peer.weight)
end

local function before(own, peer, top, best)
  return own > top or own == top and peer.name < best.name
end

local function winner_of_equals(peers, n, key)
  local best = peers[1]
  local top = mixed_with(best, key)
  for i = 2, n do
    local peer = peers[i]
    local own = mixed_with(peer, key)
    if before(own, peer, top, best) then best, top = peer, own end
  end
  return best
end

-- Of peers of one weight the same wins with weights and without: a logarithm for each weight, not for each peer.
local weights, bests, tops = {}, {}, {}

local function winner_by_weight(peers, n, key, lasting)
  local kinds = 0
  for i = 1, n do
    local peer = peers[i]
    local own, weight = mixed_with(peer, key), lasting and peer.lasting or peer.weight
    local best = bests[weight]
    if not best then
      kinds = kinds + 1
      weights[kinds], bests[weight], tops[weight] = weight, peer, own
    elseif before(own, peer, tops[weight], best) then
      bests[weight], tops[weight] = peer, own
    end
  end
  local best, top
  for i = 1, kinds do
    local weight = weights[i]
    local peer, own = bests[weight], weighted(tops[weight], weight)
    if not best or before(own, peer, top, best) then best, top = peer, own end
    bests[weight] = nil
  end
  return best
end

-- The peer that wants a key most; `equal`: all of these have one weight; `lasting`: by what they weigh in the long run.
-- nil where there is none.
function M.winner(peers, n, key, equal, lasting)
  if n == 0 then return nil end
  if equal then return winner_of_equals(peers, n, key) end
  return winner_by_weight(peers, n, key, lasting)
end

return M
