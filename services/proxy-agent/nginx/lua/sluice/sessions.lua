-- Sessions that stay with a peer by a cookie. It holds a hash of the peer's identity, and holds good for as long as that
-- peer is there. Where sessions are redistributed (balanced) a random key stands before it, whose home is found by
-- rendezvous: a peer that comes takes its share of the sessions, one that goes gives up only its own. Nothing is
-- remembered here: any worker, any proxy and one that has just started finds the same peer.
local balancer = require "sluice.balancer"
local loads = require "sluice.loads"
local rendezvous = require "sluice.rendezvous"
local session_side = require "sluice.session_side"

local ngx, var, random = ngx, ngx.var, math.random
local format, find, sub = string.format, string.find, string.sub
local key_of, winner = rendezvous.key, rendezvous.winner
local unmarked = session_side.unmarked

local M = {}

-- Letters of a key, and of the hash of an identity.
local KEY, TOKEN = 16, 16
-- Keys are drawn until one has a home that takes new sessions; all but those on hold do.
local DRAWS = 64

-- Whose sessions come and go with peers: not those who keep theirs whatever comes.
local function homes(u)
  local all = u.homes
  if all then return all, u.homes_equal end
  all = {}
  local equal = true
  for _, list in ipairs(u.lists) do
    for _, peer in ipairs(list.usable) do
      if not peer.draining then
        all[#all + 1] = peer
        equal = equal and (peer.lasting or peer.weight) == (all[1].lasting or all[1].weight)
      end
    end
  end
  if #all == 0 then all, equal = u.active, u.equal end
  u.homes, u.homes_equal = all, equal
  return all, equal
end

local function token_of(peer)
  local token = peer.token
  if not token then
    token = sub(ngx.md5(rendezvous.identity(peer)), 1, TOKEN)
    peer.token = token
  end
  return token
end

local function by_token(u, token)
  for _, list in ipairs(u.lists) do
    if not list.forced then
      local tokens = list.tokens
      if not tokens then
        tokens = {}
        for _, peer in ipairs(list.peers) do tokens[token_of(peer)] = peer end
        list.tokens = tokens
      end
      local peer = tokens[token]
      if peer then return peer end
    end
  end
  return nil
end

-- Terminating, or of a drained cluster: open to its own sessions alone.
local function keeps(peer)
  return peer.draining or peer.list.usable ~= peer.list.peers
end

-- Where a cookie leads, and what it would say if it were given now; nil: nowhere.
local function home_of(u, policy, value)
  if not value then return nil end
  if policy.persistent then return by_token(u, value), value end
  if #value ~= KEY + TOKEN or find(value, "%X") then return nil end
  local key = sub(value, 1, KEY)
  local all, equal = homes(u)
  local home = winner(all, #all, key_of(key), equal, true)
  if not home then return nil end
  local now_said = key .. token_of(home)
  if now_said == value then return home, value end
  local named = by_token(u, sub(value, KEY + 1))
  if named and keeps(named) and balancer.serves(u, named) then return named, value end
  return home, now_said
end

local function say(policy, value)
  local text = policy.name .. "=" .. value .. (policy.mark or "") .. policy.rest
  if policy.expires then text = text .. "; Expires=" .. ngx.cookie_time(ngx.time() + policy.expires) end
  if policy.by_scheme and var.https == "on" then text = text .. "; Secure" end
  -- Before the peer's own headers are there: its cookies come beside this one, and a next try replaces it.
  ngx.header["Set-Cookie"] = text
end

local function draw()
  return format("%04x%04x%04x%04x", random(0, 65535), random(0, 65535), random(0, 65535), random(0, 65535))
end

-- A home for a new session, with the cookie that leads there; nil where luck did not find one. Not one of `tried`; a
-- name of a cluster in it counts as long as there is another cluster.
local function drawn(u, tried, instead)
  local all, equal = homes(u)
  local other_cluster = instead and not tried[instead.cluster]
  for _ = 1, DRAWS do
    local key = draw()
    local peer = winner(all, #all, key_of(key), equal, true)
    local again = peer and tried and (tried[peer.name] or other_cluster and tried[peer.cluster])
    if peer and not again and balancer.welcomes(peer) then return peer, key .. token_of(peer) end
  end
  return nil
end

local function stand_in(policy, value)
  return key_of(policy.persistent and value or sub(value, 1, KEY))
end

function M.first(u, policy, safe)
  if u.count == 0 then return nil end
  local said = var[policy.variable]
  local value = unmarked(said)
  local foreign = (value ~= said) ~= (policy.mark ~= nil)
  -- A session of the canary, which has no peers now: it stays together, and comes back.
  if foreign and policy.leaves and value then return winner(u.active, u.count, stand_in(policy, value), u.equal) end
  local home, now_said = home_of(u, policy, value)
  if home then
    if balancer.serves(u, home) or u.trials and balancer.trial(u, safe, home) then
      if now_said ~= value or foreign then say(policy, now_said) end
      return home
    end
    -- It may come back, and the session with it; until then all its requests go to one other peer.
    if not policy.changes then return winner(u.active, u.count, stand_in(policy, value), u.equal) end
  end
  local peer
  if policy.persistent then
    peer = loads.any(u)
    value = token_of(peer)
  else
    peer, value = drawn(u)
  end
  if not peer then return loads.any(u) end
  say(policy, value)
  return peer
end

-- For a request that has failed on `tried`.
function M.other(u, policy, tried)
  local value = unmarked(var[policy.variable])
  if not policy.changes and home_of(u, policy, value) then
    return balancer.other(u, tried, stand_in(policy, value))
  end
  local other = balancer.other(u, tried)
  if not other or not balancer.welcomes(other) then return other end
  if policy.persistent then
    say(policy, token_of(other))
    return other
  end
  local peer, said = drawn(u, tried, other)
  if not peer then return other end
  say(policy, said)
  return peer
end

return M
