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

-- How much a peer wants a key, the greatest wins; with weights each wins its share of the keys.
local function rank(peer, key, equal)
  local mixed = mix(bxor(hash_of(peer), key))
  if equal then return mixed end
  return -peer.weight / log((mixed + 2147483648.5) / 4294967296)
end
M.rank = rank

-- `equal`: all of these have one weight.
function M.winner(peers, n, key, equal)
  local best, top
  for i = 1, n do
    local peer = peers[i]
    local own = rank(peer, key, equal)
    if not best or own > top or own == top and peer.name < best.name then best, top = peer, own end
  end
  return best
end

return M
