-- HTTP basic authentication. A password is checked when it is seen first; then a worker knows it again by a keyed hash,
-- so that requests do not each pay what makes guessing dear.
local counters = require "sluice.counters"
local lrucache = require "resty.lrucache"
local passwords = require "sluice.access_passwords"
local secrets = require "sluice.secrets"

local find, match, sub = string.find, string.match, string.sub
local max, next, pairs = math.max, next, pairs
local ngx = ngx

local M = {}

local compiled = lrucache.new(1000)

-- Credentials that were right, for KEPT seconds after; of others nothing is kept. The hash is part of what is hashed: with
-- another password in the Secret it is another credential.
local KEPT = 300
local good = lrucache.new(10000)
local key

local function digest(user, hash, password)
  if not key then
    local file = assert(io.open("/dev/urandom", "rb"))
    key = file:read(32)
    file:close()
  end
  return ngx.hmac_sha1(key, #user .. ":" .. #hash .. ":" .. user .. hash .. password)
end

-- Seconds that wrong passwords have cost this worker and that it has not made good yet. SHARE of its time may go there,
-- MOST at once; above it nobody's password is checked, and who was let in before still is.
local SHARE, MOST = 0.25, 0.5
local spent, since = 0, 0

local function precise()
  ngx.update_time()
  return ngx.now()
end

local function busy()
  local now = ngx.now()
  spent, since = max(0, spent - (now - since) * SHARE), now
  return spent >= MOST
end

-- nil: nobody knows. Where there is no such user it takes as long as if there were.
local function verify(users, user, password)
  if busy() then return nil end
  local hash = users[user]
  local other = not hash and next(users)
  local tried = hash or other and users[other]
  if not tried or passwords.problem(tried) then return false end
  local began = precise()
  local right = passwords.verify(tried, password) and hash ~= nil
  if not right then spent = spent + precise() - began end
  return right
end

local function parsed(secret)
  local users = secret.users
  if not users then return nil end
  for user, hash in pairs(users) do
    local why = passwords.problem(hash)
    if why then ngx.log(ngx.WARN, "sluice: user ", user, " can never come in: a password hash ", why) end
  end
  return users
end

function M.compile(users)
  return { secret = users.secret, challenge = 'Basic realm="' .. users.realm .. '"' }
end

local function credentials(var)
  local given = match(var.http_authorization or "", "^[Bb][Aa][Ss][Ii][Cc] +(%S+)%s*$")
  local text = given and #given <= 4096 and ngx.decode_base64(given)
  local at = text and find(text, ":", 1, true)
  if not at then return nil end
  return sub(text, 1, at - 1), sub(text, at + 1)
end

-- nil, or why not.
function M.check(guard, var)
  local users = secrets.compiled(compiled, guard.secret, parsed)
  -- Its Secret has not come yet, or is gone: whoever asked for passwords wanted nobody let in without.
  if not users then return "no-users" end
  local user, password = credentials(var)
  if not user then return "unauthorized" end
  local known = users[user] and digest(user, users[user], password)
  if known and good:get(known) then return nil end
  local right = verify(users, user, password)
  if right == nil then
    counters.add("passwords_unchecked")
    ngx.header["retry-after"] = 1
    return "passwords-busy"
  end
  if not right then return "unauthorized" end
  good:set(known, true, KEPT)
  return nil
end

return M
