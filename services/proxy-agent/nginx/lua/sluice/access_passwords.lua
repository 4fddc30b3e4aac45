-- Passwords against what htpasswd and crypt make of them: as nginx's auth_basic, {PLAIN}, {SHA}, {SSHA} and $apr1$ here,
-- all else by libc's crypt. What would keep a worker busy for longer than some tens of milliseconds is not tried.
local ffi = require "ffi"

local byte, char, find, floor, match, rep, sub = string.byte, string.char, string.find, math.floor, string.match,
  string.rep, string.sub
local concat, tonumber = table.concat, tonumber
local decode, md5, sha1 = ngx.decode_base64, ngx.md5_bin, ngx.sha1_bin
local bit = require "bit"
local band, bor, bxor, lshift, rshift = bit.band, bit.bor, bit.bxor, bit.lshift, bit.rshift

ffi.cdef "char *crypt_r(const char *phrase, const char *setting, void *data);"

local M = { MOST_BYTES = 512 }

-- As long as the longer one takes, wherever they differ.
local function same(a, b)
  local differ = #a == #b and 0 or 1
  for i = 1, #b do differ = bor(differ, bxor(byte(a, i) or 0, byte(b, i))) end
  return differ == 0
end

local ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

local function to64(value, letters)
  local out = {}
  for i = 1, letters do
    local at = band(value, 63) + 1
    out[i] = sub(ALPHABET, at, at)
    value = rshift(value, 6)
  end
  return concat(out)
end

-- Apache's variant of crypt's MD5: a thousand rounds, neither more nor less.
local function apr1(password, salt)
  local inner = md5(password .. salt .. password)
  local text = { password, "$apr1$", salt, sub(rep(inner, floor(#password / 16) + 1), 1, #password) }
  local left = #password
  while left > 0 do
    text[#text + 1] = band(left, 1) == 1 and "\0" or sub(password, 1, 1)
    left = rshift(left, 1)
  end
  local final = md5(concat(text))
  for i = 0, 999 do
    local odd = band(i, 1) == 1
    final = md5((odd and password or final) .. (i % 3 ~= 0 and salt or "") .. (i % 7 ~= 0 and password or "")
      .. (odd and final or password))
  end
  local out = {}
  for _, at in ipairs { { 0, 6, 12 }, { 1, 7, 13 }, { 2, 8, 14 }, { 3, 9, 15 }, { 4, 10, 5 } } do
    out[#out + 1] = to64(bor(lshift(byte(final, at[1] + 1), 16), lshift(byte(final, at[2] + 1), 8),
      byte(final, at[3] + 1)), 4)
  end
  out[#out + 1] = to64(byte(final, 12), 2)
  return concat(out)
end

-- libxcrypt's crypt_data is 32 KiB, glibc's own was 128 KiB.
local DATA = 256 * 1024
local data = nil

local function libc(password, setting)
  data = data or ffi.new("char[?]", DATA)
  ffi.fill(data, DATA)
  local made = ffi.C.crypt_r(password, setting, data)
  local text = made ~= nil and ffi.string(made) or ""
  ffi.fill(data, DATA)
  -- What begins with * says that it could not.
  return text ~= "" and byte(text) ~= 42 and text or nil
end

-- Why a hash is not tried; nil: it is. packages/ingress tells its owner the same when the Secret is read.
function M.problem(hash)
  if #hash > M.MOST_BYTES then return "longer than 512 bytes" end
  local cost = match(hash, "^%$2[abxy]%$(%d%d)%$")
  if cost then return tonumber(cost) > 10 and "bcrypt of a cost above 10" or nil end
  if find(hash, "^%$[56]%$") then
    local rounds = match(hash, "^%$[56]%$rounds=(%d+)%$")
    return rounds and tonumber(rounds) > 50000 and "more than 50,000 rounds" or nil
  end
  if find(hash, "^%$y%$") then
    return not find(hash, "^%$y%$j[5-9]T%$") and "yescrypt of a cost that is not 5 to 9" or nil
  end
  if find(hash, "^%$1%$") or find(hash, "^%$apr1%$") or find(hash, "^{PLAIN}") or find(hash, "^{S?S?HA}") then return nil end
  return not find(hash, "^[%w./]+$") and "of an unknown kind" or nil
end

-- Whether this is the password.
function M.verify(hash, password)
  if find(password, "\0", 1, true) or #password > M.MOST_BYTES then return false end
  if sub(hash, 1, 7) == "{PLAIN}" then return same(password, sub(hash, 8)) end
  if sub(hash, 1, 5) == "{SHA}" then return same(sha1(password), decode(sub(hash, 6)) or "") end
  if sub(hash, 1, 6) == "{SSHA}" then
    local raw = decode(sub(hash, 7)) or ""
    return #raw >= 20 and same(sha1(password .. sub(raw, 21)), sub(raw, 1, 20))
  end
  local salt, rest = match(hash, "^%$apr1%$([^$]*)%$(.*)$")
  if salt then return same(apr1(password, sub(salt, 1, 8)), rest) end
  local made = libc(password, hash)
  return made ~= nil and same(made, hash)
end

M.same = same

return M
