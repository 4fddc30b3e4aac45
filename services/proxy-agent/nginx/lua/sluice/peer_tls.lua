-- The certificate that is shown to peers which ask for one, as nginx's variables: nothing of it is ever in a file or in
-- nginx.conf. "": none is shown.
local lrucache = require "resty.lrucache"
local secrets = require "sluice.secrets"

local var = ngx.var

local M = {}

local MOST = 200
local kept = assert(lrucache.new(MOST))

local function make(row)
  return row.chain and row.key and { chain = "data:" .. row.chain, key = "data:" .. row.key } or false
end

local function pair()
  return secrets.compiled(kept, var.sluice_client, make)
end

function M.chain()
  local found = pair()
  return found and found.chain or ""
end

function M.key()
  local found = pair()
  return found and found.key or ""
end

return M
