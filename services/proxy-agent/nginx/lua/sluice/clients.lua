-- Hosts whose clients have to show a certificate: what the handshake found, judged for each request.
local phases = require "sluice.phases"
local tls = require "sluice.tls"

local find, sub, type = string.find, string.sub, type

local M = {}

local VERIFY = { on = true, optional = true, optional_no_ca = true }

-- What nginx lets pass with optional_no_ca: nobody here can say who signed it. OpenSSL 1.1 and 3 spell two of them apart.
local UNKNOWN_SIGNER = {}
for _, why in ipairs {
  "self-signed certificate", "self signed certificate", "self-signed certificate in certificate chain",
  "self signed certificate in certificate chain", "unable to get local issuer certificate",
  "unable to verify the first certificate", "certificate not trusted",
} do UNKNOWN_SIGNER[why] = true end

function M.problem(value)
  if type(value) ~= "table" then return "clientCertificate is no object" end
  if not VERIFY[value.verify] then return "verify is none of on, optional and optional_no_ca" end
  local page = value.errorPage
  if page ~= nil and not (type(page) == "string" and #page <= 2048 and find(page, "^https?://[\33-\126]+$")) then
    return "errorPage is no URL"
  end
  return nil
end

local function refuse(guard)
  if guard.page then return ngx.redirect(guard.page, 302) end
  return "client-certificate"
end

local function check(guard, var)
  if var.https ~= "on" then return guard.required and "tls-required" or nil end
  local why = tls.unproved(var.host)
  if why then return why end
  local verdict = var.ssl_client_verify
  if verdict == "SUCCESS" then return nil end
  if verdict == "NONE" then return guard.required and refuse(guard) or nil end
  if guard.any_signer and UNKNOWN_SIGNER[sub(verdict or "", #"FAILED:" + 1)] then return nil end
  return refuse(guard)
end

function M.compile(value, target)
  phases.guard(target, {
    check = check, required = value.verify == "on", any_signer = value.verify == "optional_no_ca", page = value.errorPage,
  })
end

return M
