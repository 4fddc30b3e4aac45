-- What the agent wrote beside nginx.conf: read when nginx starts and at each reload, checked there.
local cjson = require "cjson.safe"

local M = { config = "", profiles = { default = { readSeconds = 60 } } }

function M.load(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  local given = assert(cjson.decode(text), "settings are no JSON")
  M.config = assert(given.config)
  M.lastGood = assert(given.lastGood)
  -- nil: off
  M.firstByteSeconds = given.firstByteMs and given.firstByteMs > 0 and given.firstByteMs / 1000 or nil
  M.profiles = {}
  for name, profile in pairs(assert(given.profiles)) do
    M.profiles[name] = { readSeconds = assert(profile.readMs) / 1000 }
  end
  assert(M.profiles.default, "no default profile")
end

return M
