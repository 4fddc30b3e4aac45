-- Secrets in shared memory: certificates with their keys, certificate authorities, password hashes. One value a secret,
-- so that a reader never meets half of a change.
--
--   s:<id>   what it says, as JSON       g:<id>   its generation, written after it and read before it
local cjson = require "cjson.safe"
local ffi = require "ffi"
local ssl = require "ngx.ssl"
local is_text = require("sluice.values").is_text

ffi.cdef [[
void *OPENSSL_sk_value(const void *stack, int at);
int X509_check_private_key(const void *certificate, const void *key);
void ERR_clear_error(void);
]]

local C = ffi.C
local S = ngx.shared.sluice_secrets
local match, type, pairs = string.match, type, pairs

local M = {}

-- More than this no TLS client of OpenSSL's takes from a server.
local MOST_CHAIN = 100 * 1024
local MOST_AUTHORITIES = 500 * 1024
local MOST_KEY = 32 * 1024
-- Bytes of shared memory that secrets never take: what is there must stay changeable.
local RESERVE = 64 * 1024

local function pair_problem(row)
  if not is_text(row.chain, nil, MOST_CHAIN) then return "certificate: no PEM of up to 100 KiB" end
  if not is_text(row.key, nil, MOST_KEY) then return "certificate: its private key is missing" end
  local chain = ssl.parse_pem_cert(row.chain)
  local key = chain and ssl.parse_pem_priv_key(row.key)
  local leaf = key and C.OPENSSL_sk_value(chain, 0)
  local fits = leaf and C.X509_check_private_key(leaf, key) == 1
  -- What OpenSSL says of it would be taken for the next handshake's.
  C.ERR_clear_error()
  if not chain then return "certificate: no chain in PEM that nginx can read" end
  if not key then return "certificate: no private key in PEM that nginx can read" end
  if not fits then return "certificate: its private key is another one's" end
  return nil
end

local function authorities_problem(pem)
  if not is_text(pem, nil, MOST_AUTHORITIES) then return "authorities: no PEM of up to 500 KiB" end
  local parsed = ssl.parse_pem_cert(pem)
  C.ERR_clear_error()
  return not parsed and "authorities: no certificates in PEM that nginx can read" or nil
end

local function users_problem(users)
  if type(users) ~= "table" then return "users is no object" end
  for name, hash in pairs(users) do
    if type(name) ~= "string" or type(hash) ~= "string" then return "users: a name or a hash is no text" end
  end
  return nil
end

-- What is wrong with a row; nil: nothing. It never quotes what is in it.
local function problem(row)
  local why = (row.chain ~= nil or row.key ~= nil) and pair_problem(row)
    or row.authorities ~= nil and authorities_problem(row.authorities)
    or row.users ~= nil and users_problem(row.users)
  if why then return why end
  if row.chain == nil and row.authorities == nil and row.users == nil then return "a secret without contents" end
  return nil
end

local function put(key, value)
  local before = S:get(key)
  local ok, err = S:safe_set(key, value)
  if ok then return nil end
  -- A value of another size was taken out before there was room for the new one.
  if before then S:safe_set(key, before) end
  return "shared memory for secrets: " .. err
end

-- nil, or why the row was refused; what was there before it serves on then. `known` rows were judged before.
function M.apply(row, known)
  local id = row.id
  if type(id) ~= "string" or not match(id, "^[0-9a-z%-]+$") or #id > 128 then return "id is no name" end
  if row.del then
    S:delete("s:" .. id)
    S:delete("g:" .. id)
    return nil
  end
  local raw, err = cjson.encode { chain = row.chain, key = row.key, authorities = row.authorities, users = row.users }
  if not raw then return "a secret that is no JSON: " .. err end
  if S:get("s:" .. id) == raw and S:get("g:" .. id) then return nil end
  local why = not known and problem(row)
  if why then return why end
  if S:free_space() <= RESERVE + #raw then return "shared memory for secrets: no room for " .. #raw .. " bytes" end
  return put("s:" .. id, raw) or put("g:" .. id, S:incr("rev", 1, 0))
end

-- nil: it is not there.
function M.generation(id)
  return S:get("g:" .. id)
end

-- What `make` made of a secret, kept in `cache` (a resty.lrucache) until the secret changes; then its generation.
-- nil: it is not there, or nothing could be made of it.
function M.compiled(cache, id, make)
  local gen = S:get("g:" .. id)
  local kept = cache:get(id)
  if kept and kept.gen == gen then return kept.value, gen end
  local raw = gen and S:get("s:" .. id)
  local row = raw and cjson.decode(raw)
  if not row then
    cache:delete(id)
    return nil
  end
  local value = make(row)
  cache:set(id, { gen = gen, value = value })
  return value, gen
end

-- The names of all that are held.
function M.ids()
  local out = {}
  for _, key in ipairs(S:get_keys(0)) do
    if key:sub(1, 2) == "g:" then out[#out + 1] = key:sub(3) end
  end
  return out
end

return M
