-- What a TLS client is shown for the name that it asks for, and by whom its own certificate has to be signed.
--
-- A session that is resumed brings the identity that was proved when it began. So that nobody proves one to another
-- host, or to authorities that have been replaced, sessions of hosts that ask for certificates are bound to host and
-- authorities by OpenSSL's session id context, which is also what tells a request which host its connection is for.
local base = require "resty.core.base"
local cjson = require "cjson.safe"
local clienthello = require "ngx.ssl.clienthello"
local ffi = require "ffi"
local lrucache = require "resty.lrucache"
local secrets = require "sluice.secrets"
local ssl = require "ngx.ssl"

ffi.cdef [[
int SSL_set_session_id_context(void *ssl, const unsigned char *context, unsigned int length);
void *SSL_get_session(const void *ssl);
const unsigned char *SSL_SESSION_get0_id_context(const void *session, unsigned int *length);
void *SSL_get_SSL_CTX(const void *ssl);
long SSL_CTX_ctrl(void *ctx, int command, long number, void *pointer);
]]

local C = ffi.C
local D = ngx.shared.sluice_rows
local byte, find, lower, sub = string.byte, string.find, string.lower, string.sub
local md5_bin = ngx.md5_bin
local STAR, DOT = byte("*"), byte(".")

local M = {}

-- Kept per worker; what was not asked for lately is made again when it is.
local MOST_HOSTS, MOST_PAIRS, MOST_AUTHORITIES = 10000, 1000, 100
local hosts = assert(lrucache.new(MOST_HOSTS))
local pairs_by_id = assert(lrucache.new(MOST_PAIRS))
local authorities_by_id = assert(lrucache.new(MOST_AUTHORITIES))

local NOTHING = {}
-- Of this worker's listener, once it has been used: OpenSSL counts there.
local context
-- Handshakes of this worker that have not been told of. (OpenSSL's own count of them takes in what follows a handshake.)
local begun = 0

-- The SSL of the connection; nil: it has none. Older resty.core does not show what the module has.
local connection = ssl.get_req_ssl_pointer
if not connection then
  ffi.cdef [[void *ngx_http_lua_ffi_get_req_ssl_pointer(void *r, char **err);]]
  local get_request, errmsg = base.get_request, base.get_errmsg_ptr()
  function connection()
    local at = C.ngx_http_lua_ffi_get_req_ssl_pointer(get_request(), errmsg)
    return at ~= nil and at or nil
  end
end

-- As routes are named; nil: no name of a host.
local function host_of(name)
  if not name or #name == 0 or #name > 255 then return nil end
  name = lower(name)
  if byte(name, -1) == DOT then name = sub(name, 1, -2) end
  local first = byte(name)
  if first == STAR or first == DOT then return nil end
  return name
end

-- What the row of exactly this host says of TLS; nil: there is no such row.
local function said(host)
  local raw = D:get("x:" .. host)
  if not raw then return D:get("h:" .. host) and NOTHING or nil end
  local kept = hosts:get(host)
  if kept and kept.raw == raw then return kept end
  local row = cjson.decode(raw)
  row.raw, row.host = raw, host
  hosts:set(host, row)
  return row
end

-- By the same rule as a request finds its host's paths.
local function row_of(host)
  local row = host and said(host)
  if row then return row end
  local dot = host and find(host, ".", 1, true)
  return dot and said("*" .. sub(host, dot)) or said("") or NOTHING
end

local function parsed_pair(secret)
  local chain = secret.chain and ssl.parse_pem_cert(secret.chain)
  local key = chain and secret.key and ssl.parse_pem_priv_key(secret.key)
  return key and { chain = chain, key = key } or nil
end

local function parsed_authorities(secret)
  return secret.authorities and ssl.parse_pem_cert(secret.authorities) or nil
end

local function pair_of(row)
  local id = row.certificate
  return id and secrets.compiled(pairs_by_id, id, parsed_pair)
end

-- The authorities of a host that asks for certificates, and what its sessions are bound to; nil: not there.
local function authorities_of(row)
  local clients = row.clients
  local parsed, gen = secrets.compiled(authorities_by_id, clients.authorities, parsed_authorities)
  if not parsed then return nil end
  if row.gen ~= gen then
    row.gen = gen
    row.context = md5_bin(row.host .. " " .. clients.authorities .. " " .. gen .. " " .. clients.depth)
  end
  return parsed, row.context
end

-- ssl_client_hello_by_lua: before a session is looked for.
function M.hello()
  local at = connection()
  if not at then return end
  context = context or C.SSL_get_SSL_CTX(at)
  begun = begun + 1
  local row = row_of(host_of((clienthello.get_client_hello_server_name())))
  if not row.clients then return end
  local _, bound = authorities_of(row)
  if bound and C.SSL_set_session_id_context(at, bound, #bound) ~= 1 then return ngx.exit(ngx.ERROR) end
end

-- ssl_certificate_by_lua: where a session is not resumed.
function M.certificate()
  local row = row_of(host_of((ssl.server_name())))
  -- nginx.conf names one that is shown where nobody has given another.
  local pair = pair_of(row) or pair_of(said("") or NOTHING)
  if pair then
    local ok, err = ssl.clear_certs()
    if ok then ok, err = ssl.set_cert(pair.chain) end
    if ok then ok, err = ssl.set_priv_key(pair.key) end
    if not ok then
      ngx.log(ngx.ERR, "sluice: certificate for ", row.host or "no host", ": ", err)
      return ngx.exit(ngx.ERROR)
    end
  end
  if not row.clients then return end
  local authorities = authorities_of(row)
  if not authorities then return end
  -- Whoever shows none, or a bad one, is told so by HTTP: a handshake that fails tells a person nothing.
  local ok, err = ssl.verify_client(authorities, row.clients.depth)
  if not ok then
    ngx.log(ngx.ERR, "sluice: client certificates of ", row.host, ": ", err)
    return ngx.exit(ngx.ERROR)
  end
end

local length = ffi.new("unsigned int[1]")

-- Whether what the client of this request proved was proved to this host: nil, or why not.
function M.unproved(host)
  local row = row_of(host)
  local bound
  if row.clients then
    local _, found = authorities_of(row)
    bound = found
  end
  if not bound then return "no-authorities" end
  local at = connection()
  local session = at and C.SSL_get_session(at)
  if session == nil then return "misdirected" end
  local given = C.SSL_SESSION_get0_id_context(session, length)
  if ffi.string(given, length[0]) ~= bound then return "misdirected" end
  return nil
end

-- OpenSSL's numbers for these counts.
local FINISHED, RESUMED = 25, 27

local function counted(number)
  return tonumber(C.SSL_CTX_ctrl(context, number, 0, nil))
end

local finished, resumed = 0, 0

-- Tells `add` of the handshakes of this worker since the last time.
function M.count(add)
  if not context then return end
  local r, f = counted(RESUMED), counted(FINISHED)
  if begun > 0 then add("handshakes_begun", begun) end
  if f - r > finished - resumed then add("handshakes_full", f - r - finished + resumed) end
  if r > resumed then add("handshakes_resumed", r - resumed) end
  begun, finished, resumed = 0, math.max(f, r), r
end

return M
