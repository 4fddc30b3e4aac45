-- What the agent wrote beside nginx.conf: read when nginx starts and at each reload, checked there.
local cjson = require "cjson.safe"

local MOST_TRIES = 32

local M = { config = "", profiles = { default = { readSeconds = 60, maxBody = 0, tries = 3, retries = true } } }

function M.load(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  local given = assert(cjson.decode(text), "settings are no JSON")
  M.config = assert(given.config)
  M.lastGood = assert(given.lastGood)
  M.secrets = assert(given.secrets)
  -- What browsers are told of hosts with a certificate; nil: nothing.
  M.hsts = given.hsts
  -- Behind the host where a client is sent to https; "": the usual port.
  M.httpsPort = given.httpsPort and given.httpsPort ~= 443 and ":" .. given.httpsPort or ""
  M.replies = "unix:" .. assert(given.replies)
  M.accessLog = given.accessLog == true
  -- Path and query of requests that are not logged, as keys; nil: there are none.
  M.unlogged = given.unlogged
  -- nil: off
  M.firstByteSeconds = given.firstByteMs and given.firstByteMs > 0 and given.firstByteMs / 1000 or nil
  M.profiles = {}
  for name, profile in pairs(assert(given.profiles)) do
    local tries = assert(profile.tries)
    M.profiles[name] = {
      readSeconds = assert(profile.readMs) / 1000,
      maxBody = assert(profile.maxBodyBytes),
      -- Peers that one request may try.
      tries = tries > 0 and tries or MOST_TRIES,
      -- Whether a peer that is slow may be left for another.
      retries = profile.retries == true,
      -- Whether a body may be sent twice.
      replays = profile.replays == true,
      -- Whether requests may become others on their way to a peer.
      rewrites = profile.rewrites == true,
    }
  end
  local default = assert(M.profiles.default, "no default profile")
  -- nginx measures a body before it knows the profile, by the largest limit that any has; the rest is ours. With
  -- the default profile alone nginx does it all.
  M.alone = next(M.profiles, next(M.profiles)) == nil
  M.measures = not M.alone and default.maxBody > 0
end

return M
