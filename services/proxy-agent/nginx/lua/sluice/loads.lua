-- What this worker knows of how busy and how slow peers are, and the choice of the better of two.
local exp, random = math.exp, math.random
local now = ngx.now

-- Seconds in which what was measured loses all but a third of its weight, as in ingress-nginx.
local DECAY = 10
-- Times are known to a millisecond only, and what was measured once is forgotten by degrees: a little slower is alike.
local LEAST, ALIKE = 0.001, 0.9

local M = {}

-- Peers of one address keep it through changes of the list that they stand in.
function M.of(peer)
  local load = peer.load
  if not load then
    load = { busy = 0, seconds = 0 }
    peer.load = load
  end
  return load
end

local function place(u)
  local n = u.count
  if u.equal then return random(n) end
  if u.prob then
    local i = random(n)
    return random() < u.prob[i] and i or u.alias[i]
  end
  local left = random() * u.total
  for i = 1, n do
    left = left - u.active[i].weight
    if left < 0 then return i end
  end
  return n
end

-- By weight, whatever turn it is.
function M.any(u)
  return u.active[place(u)]
end

-- The first of two is chosen by weight; what it has in hand counts by weight too, its time does not.
local function fewer(_, a, b)
  return M.of(b).busy * a.weight < M.of(a).busy * b.weight
end

-- A peer that has not answered yet is compared by its requests in hand: neither every request nor none goes there.
local function faster(u, a, b)
  local one, other, mean = M.of(a), M.of(b), u.total / u.count
  local first, second = 1 + one.busy * mean / a.weight, 1 + other.busy * mean / b.weight
  if one.at and other.at then
    local time = now()
    first = first * (one.seconds * exp((one.at - time) / DECAY) + LEAST)
    second = second * (other.seconds * exp((other.at - time) / DECAY) + LEAST)
  end
  return second < first * ALIKE
end

-- Of two, the second only where it is better: then peers that are alike get what their weights say.
local function of_two(u, better)
  local peers, i, n = u.active, place(u), u.count
  if n == 1 then return peers[i] end
  local j = random(n - 1)
  if j >= i then j = j + 1 end
  return better(u, peers[i], peers[j]) and peers[j] or peers[i]
end

function M.least_busy(u) return of_two(u, fewer) end
function M.fastest(u) return of_two(u, faster) end

-- A request has gone to a peer; one that it was at before has failed it.
function M.begin(state, peer)
  if state.load then state.load.busy = state.load.busy - 1 end
  local load = M.of(peer)
  load.busy = load.busy + 1
  state.load = load
end

-- `seconds` until its first byte; nil: none came.
function M.finish(state, seconds)
  local load = state.load
  load.busy = load.busy - 1
  state.load = nil
  if not seconds then return end
  local time = now()
  local rest = load.at and exp((load.at - time) / DECAY) or 0
  load.seconds, load.at = load.seconds * rest + seconds * (1 - rest), time
end

return M
