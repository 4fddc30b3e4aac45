-- What workers tell each other about peers that fail. A hold keeps a peer (an ejection), or a whole cluster of one
-- upstream, out of the choice until a time; then one request tries it, and a first byte ends the hold.
--
--   x:<id>|<cluster>|<address>:<port>   hold of a peer, "until"         x:<id>|<cluster>|   hold of a cluster
--   s:… the same names                  strikes, forgotten after WINDOW
--   t:… the same names                  somebody is trying it
--   n:<id>                              this upstream may have holds: without it nobody looks for them
--   q:<id>                              responses of this upstream stream: no first-byte limit
local rows = require "sluice.rows"

local F = ngx.shared.sluice_holds
local now, tonumber = ngx.now, tonumber

local M = { STRIKES = 3, WINDOW = 10, HOLD = 10 }

-- Seconds that a hold outlives its end when nobody asks for that upstream; then it is forgotten.
local FORGET = 600

function M.any(id)
  return F:get("n:" .. id) ~= nil
end

function M.until_of(name)
  return F:get("x:" .. name)
end

function M.streams(id)
  return F:get("q:" .. id) ~= nil
end

local function hold(id, name, what)
  F:set("x:" .. name, now() + M.HOLD, FORGET)
  F:set("n:" .. id, true, FORGET)
  F:delete("s:" .. name)
  F:delete("t:" .. name)
  F:incr("count:ejections", 1, 0)
  rows.touch(id)
  ngx.log(ngx.WARN, "sluice: ", what, " ", name, " is held for ", M.HOLD, " s")
end

-- One failure. `held`: it is on hold already (a trial, or panic), so that one failure is enough.
function M.strike(id, name, held, what)
  if held then
    local ends = F:get("x:" .. name)
    -- In panic every request fails; once a second is enough to say so.
    if not ends or ends < now() + M.HOLD - 1 then hold(id, name, what) end
    return
  end
  local strikes = F:incr("s:" .. name, 1, 0, M.WINDOW)
  if strikes and strikes >= M.STRIKES then hold(id, name, what) end
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

-- Bodies of this upstream come with pauses: the first-byte limit, which nginx applies between reads as well, would cut them.
function M.mark_streams(id)
  F:set("q:" .. id, true, FORGET)
  rows.touch(id)
  ngx.log(ngx.WARN, "sluice: upstream ", id, " streams; no first-byte limit for ", FORGET, " s")
end

-- `ended`: its time is over, and nobody has tried it with success yet.
function M.all()
  local out, time = {}, now()
  for _, key in ipairs(F:get_keys(0)) do
    if key:sub(1, 2) == "x:" then
      local id, cluster, peer = key:match("^x:([^|]+)|([^|]+)|(.*)$")
      local ends = F:get(key)
      if id and ends then
        out[#out + 1] = {
          upstream = id, cluster = cluster, peer = peer, ["until"] = ends * 1000, ended = ends <= time or nil,
        }
      end
    end
  end
  return out
end

return M
