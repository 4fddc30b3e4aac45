-- How many requests of one client are in hand, in all workers. Each worker counts its own under a name that is nobody
-- else's, and whoever asks adds up those of workers that live: what one that was killed had counted is gone with it.
--
--   epoch              counts starts and reloads of nginx     n:<epoch>      how many workers it has
--   w:<epoch>:<id>     "<incarnation>:<pid>" of a worker      i:<epoch>:<id> counts its incarnations
--   version            changes whenever a worker comes or goes
--   <name of a worker>|<key>   its requests in hand
local ffi = require "ffi"

local O = ngx.shared.sluice_open
local match, tonumber = string.match, tonumber
local ngx = ngx

ffi.cdef "int kill(int pid, int sig);"

local M = {}

-- Reloads whose workers may still be there; seconds after which the dead are looked for without being told.
local EPOCHS, LOOK = 32, 5

local epoch, mine, my_key

-- In the master, at the start and at each reload: workers that it forks, one that follows one that died too, are of it.
function M.init()
  epoch = O:incr("epoch", 1, 0)
end

-- In a worker.
function M.enter()
  local id = ngx.worker.id()
  local place = epoch .. ":" .. id
  my_key = "w:" .. place
  local incarnation = O:incr("i:" .. place, 1, 0)
  mine = place .. ":" .. incarnation .. "|"
  O:set("n:" .. epoch, ngx.worker.count())
  O:set(my_key, incarnation .. ":" .. ngx.worker.pid())
  O:incr("version", 1, 0)
end

function M.exit()
  if not my_key then return end
  O:delete(my_key)
  O:incr("version", 1, 0)
end

local names, seen, looked = {}, nil, 0

local function alive(pid)
  return ffi.C.kill(pid, 0) == 0
end

local function look(version, now)
  names, seen, looked = {}, version, now
  local newest = O:get("epoch") or epoch
  for e = newest, math.max(1, newest - EPOCHS), -1 do
    for id = 0, (O:get("n:" .. e) or 0) - 1 do
      local place = e .. ":" .. id
      local incarnation, pid = match(O:get("w:" .. place) or "", "^(%d+):(%d+)$")
      if incarnation and alive(tonumber(pid)) then names[#names + 1] = place .. ":" .. incarnation .. "|" end
    end
  end
end

-- One more, unless that were more than `most`: false. nil: there is no room to count it.
function M.enter_request(key, most)
  local own = mine .. key
  local count, err, forced = O:incr(own, 1, 0)
  if not count then return nil, err end
  local version, now = O:get("version"), ngx.now()
  if version ~= seen or now - looked >= LOOK then look(version, now) end
  local sum = count
  for i = 1, #names do
    local name = names[i]
    if name ~= mine then sum = sum + (O:get(name .. key) or 0) end
  end
  if sum <= most then return own, forced end
  M.leave(own)
  return false
end

function M.leave(own)
  local count = O:incr(own, -1)
  -- Another one may not come between: nobody else writes this name.
  if count and count <= 0 then O:delete(own) end
end

return M
