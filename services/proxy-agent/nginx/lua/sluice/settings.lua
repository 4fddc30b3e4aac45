-- What the agent wrote beside nginx.conf: read when nginx starts and at each reload, checked there.
local cjson = require "cjson.safe"

local M = { config = "", profiles = { default = { readSeconds = 60, maxBody = 0 } } }

function M.load(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  local given = assert(cjson.decode(text), "settings are no JSON")
  M.config = assert(given.config)
  M.lastGood = assert(given.lastGood)
  M.replies = "unix:" .. assert(given.replies)
  -- nil: off
  M.firstByteSeconds = given.firstByteMs and given.firstByteMs > 0 and given.firstByteMs / 1000 or nil
  M.profiles = {}
  for name, profile in pairs(assert(given.profiles)) do
    M.profiles[name] = { readSeconds = assert(profile.readMs) / 1000, maxBody = assert(profile.maxBodyBytes) }
  end
  local default = assert(M.profiles.default, "no default profile")
  -- nginx measures a body before it knows the profile, by the largest limit that any has; the rest is ours. With
  -- the default profile alone nginx does it all.
  M.measures = next(M.profiles, next(M.profiles)) ~= nil and default.maxBody > 0
end

return M
