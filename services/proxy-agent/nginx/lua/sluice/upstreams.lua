-- Upstreams as a worker keeps them: peers from shared memory, sorted into those that a first try may take and the rest.
local cjson = require "cjson.safe"
local generations = require "sluice.generations"
local holds = require "sluice.holds"
local retries = require "sluice.retries"
local D = ngx.shared.sluice_rows
local now, random, floor = ngx.now, math.random, math.floor
local peers_slots, holds_slots, clusters_slot = generations.peers, generations.holds, generations.clusters

local M = { ALIAS_ABOVE = 64 }
local LIMIT = 100000
local cache, count = {}, 0

-- How little a peer is wanted; the lowest sum that any peer has is what first tries take. So no failure ever empties
-- an upstream: when all are held (panic), all are taken. Only an order does: see `obey`.
local SUSPECT, DRAINING, HELD = 2, 4, 8
M.DRAINING = DRAINING
-- A cluster's rank in the order of failover adds less than any of these.
local RANKS, LAST = 32, 31 / 32
M.AGAIN = 1 -- added on a retry, for a peer of a cluster that has just failed this request

local function parse(id, cluster, raw, old)
  local known = {}
  if old then for _, peer in ipairs(old.peers) do known[peer.name] = peer end end
  local row = cjson.decode(raw) or {}
  local list = {
    id = id, cluster = cluster, raw = raw, name = id .. "|" .. cluster .. "|", peers = {},
    share = row.share, last = row.share == 0 and LAST or (row.rank or 0) / RANKS,
  }
  for i, entry in ipairs(row.peers or row) do
    local name = list.name .. entry[1] .. ":" .. entry[2]
    local before = known[name]
    list.peers[i] = {
      name = name, address = entry[1], port = entry[2], weight = entry[3], own = entry[3], draining = entry[4] == 1,
      cluster = cluster, list = list,
      -- A peer keeps its turn: with many changes a second, starting anew would always favour the first.
      turn = before and before.turn or random() * entry[3], new = before == nil,
      -- loads.lua, rendezvous.lua and sessions.lua put these there when they are asked for.
      load = before and before.load, hash = before and before.hash, token = before and before.token,
    }
  end
  return list
end

-- Vose's alias table: a weighted choice in constant time, for upstreams where walking all peers would cost too much.
local function alias_table(peers, total)
  local n, prob, alias, small, large, scaled = #peers, {}, {}, {}, {}, {}
  for i = 1, n do
    scaled[i] = peers[i].weight * n / total
    if scaled[i] < 1 then small[#small + 1] = i else large[#large + 1] = i end
  end
  while #small > 0 and #large > 0 do
    local s, l = table.remove(small), table.remove(large)
    prob[s], alias[s] = scaled[s], l
    scaled[l] = scaled[l] + scaled[s] - 1
    if scaled[l] < 1 then small[#small + 1] = l else large[#large + 1] = l end
  end
  for _, i in ipairs(large) do prob[i] = 1 end
  for _, i in ipairs(small) do prob[i] = 1 end
  return prob, alias
end

-- What of each cluster's peers may be asked at all: none where somebody drained it, for first tries as for retries. Where
-- no other cluster has peers of this upstream a drained one stays in, unless the order was forced.
local NONE = {}
local function obey(u)
  local state_of, others = {}, false
  for _, list in ipairs(u.lists) do
    local state = D:get("c:" .. list.cluster)
    state_of[list] = state
    if #list.peers > 0 and state ~= "drained" and state ~= "forced" then others = true end
  end
  for _, list in ipairs(u.lists) do
    local state = state_of[list]
    list.usable = (state == "forced" or state == "drained" and others) and NONE or list.peers
    list.forced = state == "forced"
  end
  return state_of
end

-- Where clusters have shares, a cluster's is divided among those of its peers that are asked, however many they are.
local function weigh(lists)
  local shared = false
  for _, list in ipairs(lists) do shared = shared or list.share ~= nil end
  for _, list in ipairs(lists) do
    if shared or list.weighed then
      local total, asked = 0, 0
      for _, peer in ipairs(list.peers) do
        total = total + peer.own
        if peer.asked then asked = asked + peer.own end
      end
      local factor = 1
      if shared and list.share and list.share > 0 then factor = list.share / (asked > 0 and asked or total) end
      for _, peer in ipairs(list.peers) do peer.weight, peer.lasting = peer.own * factor, nil end
      list.weighed = shared
    end
  end
end

-- A group of failover whose sound part is smaller than this shares its requests with the next one, as Envoy does it: a
-- group may lose two peers of seven before it does.
local SPARE = 1.4

-- What each group gets of all requests, by `list.last`; nil: all goes to the first one. Terminating peers belong to none.
local function loads_of(lists)
  local sound, size, order = {}, {}, {}
  for _, list in ipairs(lists) do
    local last = list.last
    if last ~= LAST then
      if not size[last] then
        order[#order + 1] = last
        sound[last], size[last] = 0, 0
      end
      for _, peer in ipairs(list.usable) do
        if not peer.draining then
          size[last] = size[last] + peer.own
          if peer.score < 1 then sound[last] = sound[last] + peer.own end
        end
      end
    end
  end
  if #order < 2 then return nil end
  table.sort(order)
  local loads, rest, groups = {}, 1, 0
  for _, last in ipairs(order) do
    local load = size[last] > 0 and math.min(rest, SPARE * sound[last] / size[last]) or 0
    if load > 0 then loads[last], groups = load, groups + 1 end
    rest = rest - load
    if rest <= 1e-9 then break end
  end
  if groups < 2 then return nil end
  for last, load in pairs(loads) do loads[last] = load / (1 - rest) end
  return loads
end

-- Seconds in which the share of a peer that its checks have brought back grows, where nobody says another time.
M.GROWS = 10
local LEAST = 0.1

-- How much of its share a peer gets by now that began at a time.
local function grown(began, seconds, time)
  local part = (time - began) / seconds
  return part >= 1 and 1 or math.max(LEAST, part)
end

-- The weights of peers in `active` times what holds for a while only. `lasting` is what sessions go by: they stay.
local function lean(u, factor_of)
  local before, after = 0, 0
  for _, peer in ipairs(u.active) do
    before = before + peer.weight
    after = after + peer.weight * factor_of(peer)
  end
  if after == 0 then return end
  -- The sum stays, and with it what turns have been saved up.
  local scale = before / after
  for _, peer in ipairs(u.active) do
    local weight = peer.weight
    peer.lasting = peer.lasting or weight
    peer.weight = weight * factor_of(peer) * scale
    peer.list.weighed = true
  end
end

local function spread(u, loads)
  local of = {}
  for _, peer in ipairs(u.active) do of[peer.list.last] = (of[peer.list.last] or 0) + peer.weight end
  lean(u, function(peer) return loads[peer.list.last] / of[peer.list.last] end)
end

-- All but the peers that are out by order are asked as if nothing were known of them.
local function in_panic(u, percent)
  local sound, all = 0, 0
  for _, list in ipairs(u.lists) do
    for _, peer in ipairs(list.usable) do
      if not peer.draining then
        all = all + 1
        if peer.score < HELD then sound = sound + 1 end
      end
    end
  end
  if sound * 100 >= percent * all then return false end
  for _, list in ipairs(u.lists) do
    for _, peer in ipairs(list.peers) do peer.score = list.last + (peer.draining and DRAINING or 0) end
  end
  return true
end

-- Sorts the peers anew: after a change of peers, of a hold or of a cluster's state, or when a hold ends.
local function sort(u)
  u.holds_seen, u.clusters_seen = holds_slots[u.slot], clusters_slot[0] -- before what they announce
  local time, any = now(), holds.any(u.id)
  local options = u.options
  local wake, grows
  local trials = {}
  local function due(ends)
    if ends and ends > time and (not wake or ends < wake) then wake = ends end
    return ends
  end
  local seconds = options.slow or M.GROWS
  local state_of, usable = obey(u), 0
  for _, list in ipairs(u.lists) do
    local base = list.last + (state_of[list] == "down" and HELD or 0)
    usable = usable + #list.usable
    local ends = any and due(holds.until_of(list.name)) or nil
    list.held = ends
    if ends then base = base + SUSPECT end
    local in_use = list.usable == list.peers
    local reachable = {}
    -- Those of a drained cluster too: they go on with their sessions.
    for _, peer in ipairs(list.peers) do
      local until_ = any and due(holds.until_of(peer.name)) or nil
      local misses = any and due(holds.misses_until(peer.name)) or nil
      peer.held, peer.misses = until_, misses
      peer.score = base + (peer.draining and DRAINING or 0) + ((until_ or misses) and HELD or 0)
      local began = any and holds.began(peer.name)
      peer.began = began and grown(began, seconds, time) < 1 and began or nil
      grows = grows or peer.began ~= nil
      if in_use and not misses then
        reachable[#reachable + 1] = peer
        if until_ and until_ <= time and not ends then trials[#trials + 1] = { name = peer.name, peer = peer, ends = until_ } end
      end
    end
    if ends and ends <= time and #reachable > 0 then
      trials[#trials + 1] = { name = list.name, list = list, peers = reachable, ends = ends }
    end
  end
  u.panic = options.panic ~= nil and in_panic(u, options.panic)
  local best
  for _, list in ipairs(u.lists) do
    for _, peer in ipairs(list.usable) do
      if not best or peer.score < best then best = peer.score end
    end
  end
  local loads = best and best < 1 and u.ranked and loads_of(u.lists) or nil
  for _, list in ipairs(u.lists) do
    local in_use = list.usable == list.peers
    for _, peer in ipairs(list.peers) do
      peer.asked = in_use and (peer.score == best or loads ~= nil and peer.score < 1 and loads[list.last] ~= nil)
    end
  end
  weigh(u.lists)
  local active, good, reach = {}, {}, best
  local class = best and floor(best)
  for _, list in ipairs(u.lists) do
    local some = false
    for _, peer in ipairs(list.usable) do
      local score = peer.score
      -- A cluster that is only later in the order of failover is good, too.
      some = some or floor(score) == class
      if peer.asked then
        active[#active + 1] = peer
        if score > reach then reach = score end
      end
    end
    if some then good[#good + 1] = list.cluster end
  end
  u.active, u.count, u.usable = active, #active, usable
  if loads then spread(u, loads) end
  if grows then
    lean(u, function(peer) return peer.began and grown(peer.began, seconds, time) or 1 end)
    due(time + seconds / 20)
  end
  local total, equal = 0, true
  for _, peer in ipairs(active) do
    total = total + peer.weight
    equal = equal and peer.weight == active[1].weight
  end
  u.total, u.equal = total, equal
  u.good = good
  -- The one cluster that is good to go to, or nil when there are several.
  u.only_cluster = #good == 1 and good[1] or nil
  u.best, u.reach, u.healthy = best, reach, best ~= nil and best < HELD
  u.homes = nil
  u.turn = random(#active > 0 and #active or 1)
  u.trials, u.wake = #trials > 0 and trials or nil, wake
  u.streams = holds.streams(u.id)
  -- Somebody wants to know how requests end here: a hold may be over, or strikes may be forgiven.
  u.watched = any or u.struck ~= nil
  u.prob, u.alias = nil, nil
  if u.count > M.ALIAS_ABOVE and not equal then u.prob, u.alias = alias_table(active, total) end
end

local function build(id, slot, seen, gen, old)
  local before = {}
  if old then for _, list in ipairs(old.lists) do before[list.cluster] = list end end
  local u = {
    id = id, slot = slot, seen = seen, gen = gen, lists = {}, size = 0, struck = old and old.struck or nil,
    options = cjson.decode(D:get("o:" .. id) or "{}") or {}, budget = old and old.budget or retries.budget(),
  }
  u.connections = u.options.connections
  local slow = old and old.size > 0 and u.options.slow
  for _, cluster in ipairs(cjson.decode(D:get("l:" .. id) or "[]") or {}) do
    local raw = D:get("p:" .. id .. "|" .. cluster)
    if raw then
      local list = before[cluster]
      -- The other clusters' peers are parsed as before: a change costs what changed.
      if not list or list.raw ~= raw then list = parse(id, cluster, raw, list) end
      u.lists[#u.lists + 1] = list
      u.size = u.size + #list.peers
      -- Where there were peers before, one that comes is not warm yet.
      if slow then
        for _, peer in ipairs(list.peers) do
          if peer.new then holds.came(id, peer.name, slow) end
          peer.new = false
        end
      end
      -- More than one group of failover.
      u.ranked = u.ranked or list.last ~= u.lists[1].last
    end
  end
  sort(u)
  if not old then
    count = count + 1
    if count > LIMIT then cache, count = {}, 1 end
  end
  cache[id] = u
  return u
end

-- The upstream's peers may have changed, or this worker was not asked for it before.
local function look(id)
  local u = cache[id]
  local slot = u and u.slot or generations.slot(id)
  local seen = peers_slots[slot] -- before the rows
  local gen = D:get("g:" .. id)
  if u and u.gen == gen then
    u.seen = seen
    return u
  end
  if gen then return build(id, slot, seen, gen, u) end
  if u then cache[id], count = nil, count - 1 end
  return nil
end

local function fresh(u)
  local slot = u.slot
  if holds_slots[slot] ~= u.holds_seen or clusters_slot[0] ~= u.clusters_seen or u.wake and now() >= u.wake then
    sort(u)
  end
  return u
end

-- The upstream of a route, or nil; `target` remembers what it found last.
function M.of(target)
  local u = target.upstream
  if not u or peers_slots[u.slot] ~= u.seen then
    u = look(target.id)
    target.upstream = u
    if not u then return nil end
  end
  return fresh(u)
end

-- Clusters of an upstream that this worker has seen fail of late.
function M.struck(id)
  local u = cache[id]
  return u and u.struck
end

function M.calm(id)
  cache[id].struck = nil
end

-- Seconds in which the share of a peer of it grows that is back.
function M.grows(id)
  local raw = D:get("o:" .. id)
  local options = raw and cjson.decode(raw)
  return options and options.slow or M.GROWS
end

-- The same upstream now, some time after `of`; nil: it is gone.
function M.again(u)
  if peers_slots[u.slot] ~= u.seen then
    u = look(u.id)
    if not u then return nil end
  end
  return fresh(u)
end

return M
