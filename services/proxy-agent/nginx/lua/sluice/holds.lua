-- What workers tell each other about peers that fail. A hold keeps a peer (an ejection), or a whole cluster of one
-- upstream, out of the choice until a time; then one request tries it, and a first byte ends the hold. A peer that misses
-- the agent's checks is out until it passes them: no request tries it.
--
--   x:<id>|<cluster>|<address>:<port>   hold of a peer, "until"         x:<id>|<cluster>|   hold of a cluster
--   s:… the same names                  strikes, forgotten after WINDOW
--   t:… the same names                  somebody is trying it
--   e:… the same names                  holds in a row, forgotten QUIET after the last one's end
--   y:… peers alone                     misses its checks; "until", if the agent says so no more
--   b:… peers alone                     when it came, or came back: its share is growing
--   n:<id>                              this upstream may have holds: without it nobody looks for them
--   q:<id>                              responses of this upstream stream: no first-byte limit
local rows = require "sluice.rows"

local F = ngx.shared.sluice_holds
local now, tonumber, min = ngx.now, tonumber, math.min

-- Seconds; a hold is HOLD long, and as long again for each one before it, up to LONGEST.
local M = { STRIKES = 3, WINDOW = 10, HOLD = 10, LONGEST = 300 }
local QUIET = 300

-- Seconds that a hold outlives its end when nobody asks for that upstream; then it is forgotten.
local FORGET = 600

function M.any(id)
  return F:get("n:" .. id) ~= nil
end

function M.until_of(name)
  return F:get("x:" .. name)
end

function M.misses_until(name)
  return F:get("y:" .. name)
end

function M.began(name)
  return F:get("b:" .. name)
end

function M.streams(id)
  return F:get("q:" .. id) ~= nil
end

-- `patient`: the longer the more often it was held before.
local function hold(id, name, what, patient)
  local ends, time = F:get("x:" .. name), now()
  local seconds = M.HOLD
  if patient then
    local before = F:get("e:" .. name) or 0
    -- Requests that were on their way when it was held fail too; they say nothing new.
    local times = ends and ends > time and before or before + 1
    seconds = min(M.HOLD * times, M.LONGEST)
    F:set("e:" .. name, times, seconds + QUIET)
  end
  F:set("x:" .. name, time + seconds, FORGET)
  F:set("n:" .. id, true, FORGET)
  F:delete("s:" .. name)
  F:delete("t:" .. name)
  F:incr("count:ejections", 1, 0)
  rows.touch(id)
  ngx.log(ngx.WARN, "sluice: ", what, " ", name, " is held for ", seconds, " s")
end

-- One failure. `held`: it is on hold already (a trial, or panic), so that one failure is enough.
function M.strike(id, name, held, what, patient)
  if held then
    local ends = F:get("x:" .. name)
    -- In panic every request fails; once a second is enough to say so.
    if not ends or ends < now() + M.HOLD - 1 then hold(id, name, what, patient) end
    return
  end
  local strikes = F:incr("s:" .. name, 1, 0, M.WINDOW)
  if strikes and strikes >= M.STRIKES then hold(id, name, what, patient) end
end

-- So many failures in a row, and not one answer, that it is no longer a matter of being slow.
function M.silent(name)
  return (F:get("s:" .. name) or 0) >= M.STRIKES
end

-- A failure that holds nobody by itself.
function M.count(name)
  F:incr("s:" .. name, 1, 0, M.WINDOW)
end

function M.forgive(name)
  F:delete("s:" .. name)
end

function M.release(id, name)
  F:delete("x:" .. name)
  F:delete("t:" .. name)
  F:delete("s:" .. name)
  rows.touch(id)
end

-- True for one caller of all workers; the next may try when this one's time is over without a word.
function M.try(name)
  return F:add("t:" .. name, true, M.HOLD) == true
end

-- Its share grows from now on, for so many seconds.
function M.begin(id, name, seconds)
  F:set("b:" .. name, now(), seconds)
  F:set("n:" .. id, true, FORGET)
  rows.touch(id)
end

-- The same for one that every worker will find: the first one's time counts.
function M.came(id, name, seconds)
  if F:add("b:" .. name, now(), seconds) then F:set("n:" .. id, true, FORGET) end
end

-- What the agent's checks found: `out` holds for so many seconds unless it is said again.
function M.checked(id, cluster, peer, out, seconds, grows)
  local list = id .. "|" .. cluster .. "|"
  local name = list .. peer
  if out then
    local before = F:get("y:" .. name)
    F:set("y:" .. name, now() + seconds, seconds)
    F:set("n:" .. id, true, FORGET)
    if before then return end
    F:incr("count:ejections", 1, 0)
    ngx.log(ngx.WARN, "sluice: peer ", name, " misses its checks")
    rows.touch(id)
    return
  end
  F:delete("y:" .. name)
  F:delete("e:" .. name)
  -- It is reached, and so is its cluster: what requests found before that is past.
  M.release(id, list)
  M.release(id, name)
  M.begin(id, name, grows)
  ngx.log(ngx.NOTICE, "sluice: peer ", name, " passes its checks again")
end

-- Bodies of this upstream come with pauses: the first-byte limit, which nginx applies between reads as well, would cut them.
function M.mark_streams(id)
  F:set("q:" .. id, true, FORGET)
  rows.touch(id)
  ngx.log(ngx.WARN, "sluice: upstream ", id, " streams; no first-byte limit for ", FORGET, " s")
end

-- `ended`: its time is over, and nobody has tried it with success yet. `checks`: it misses the agent's.
function M.all()
  local out, time, missing = {}, now(), {}
  local function add(key, ends, facts)
    local id, cluster, peer = key:match("^..([^|]+)|([^|]+)|(.*)$")
    if not id or not ends then return end
    facts.upstream, facts.cluster, facts.peer, facts["until"] = id, cluster, peer, ends * 1000
    out[#out + 1] = facts
  end
  local keys = F:get_keys(0)
  for _, key in ipairs(keys) do
    if key:sub(1, 2) == "y:" then
      missing[key:sub(3)] = true
      add(key, F:get(key), { checks = true })
    end
  end
  for _, key in ipairs(keys) do
    if key:sub(1, 2) == "x:" and not missing[key:sub(3)] then
      local ends = F:get(key)
      add(key, ends, { ended = ends and ends <= time or nil })
    end
  end
  return out
end

return M
