-- Generations: numbers in memory that master and workers share, so that a request learns with two plain reads, and
-- no lock, whether what its worker keeps of its host and of its upstream still holds. (A read of a lua_shared_dict
-- takes that dictionary's lock; with two of them a request, workers wait for each other.)
--
-- Hosts and upstreams share slots by hash: an equal number proves that nothing changed, another one only that it may
-- have, and the rows decide. Numbers come from one counter and never repeat, so that two writers of one slot cannot
-- hide one another. They are written after the rows and read before them.
local ffi = require "ffi"

ffi.cdef [[
void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset);
]]

local D = ngx.shared.sluice_rows
local crc32 = ngx.crc32_long

local M = { SLOTS = 65536 }
local SLOTS = M.SLOTS
local BYTES = (3 * SLOTS + 1) * 8

local PROT_READ_WRITE, MAP_SHARED = 3, 1
local MAP_ANONYMOUS = ffi.os == "Linux" and 0x20 or 0x1000

-- Made once per start of nginx, in its master: workers are forked from it, those of a reload too, and find it at the
-- same address. The dictionary survives a reload as well and remembers where.
local function memory()
  local address = D:get("generations")
  if address then return ffi.cast("double *", ffi.cast("uintptr_t", address)) end
  local at = ffi.C.mmap(nil, BYTES, PROT_READ_WRITE, MAP_SHARED + MAP_ANONYMOUS, -1, 0)
  assert(ffi.cast("intptr_t", at) ~= -1, "no memory for generations")
  assert(D:safe_set("generations", tonumber(ffi.cast("uintptr_t", at))))
  return ffi.cast("double *", at)
end

local base = memory()
M.hosts, M.peers, M.holds = base, base + SLOTS, base + 2 * SLOTS
-- One for the states of all clusters: they change rarely, and an upstream looks them up when it is asked for next.
M.clusters = base + 3 * SLOTS

function M.slot(name)
  return crc32(name) % SLOTS
end

function M.next()
  return D:incr("rev", 1, 0)
end

return M
