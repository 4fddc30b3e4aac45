-- What a path may say of its requests beside where they go, by the key under which its row says it. Each is a module with
--   problem(value)          what is wrong with it when the row comes; nil: nothing
--   compile(value, target)  once per worker: leaves in the target what its requests need
-- What has a phase of its own is left there by phases.lua, in the order of this list.
local access = require "sluice.access"
local answer_headers = require "sluice.answer_headers"
local clients = require "sluice.clients"
local https_only = require "sluice.https_only"
local canary = require "sluice.canary"
local limits = require "sluice.limits"
local mirror = require "sluice.mirror"
local first_byte = require "sluice.first_byte"
local access_log = require "sluice.access_log"
local cookies = require "sluice.cookies"
local cors = require "sluice.cors"
local errors = require "sluice.errors"
local policies = require "sluice.policies"

local M = {}

local features = {
  { key = "balance", module = policies },
  -- First: nginx itself would have looked at the certificate before anything else.
  { key = "clientCertificate", module = clients },
  { key = "canary", module = canary },
  { key = "httpsOnly", module = https_only },
  { key = "firstByteMs", module = first_byte },
  -- Before who may come in is asked: a browser's preflight request carries no credentials.
  { key = "cors", module = cors },
  -- As nginx has its phases: what refuses for little goes before what asks somebody.
  { key = "limits", module = limits },
  { key = "access", module = access },
  { key = "auth", module = access.request },
  { key = "cookies", module = cookies },
  -- After all others: what it says goes before what they say.
  { key = "answerHeaders", module = answer_headers },
  { key = "errors", module = errors },
  { key = "unlogged", module = access_log },
  { key = "mirror", module = mirror },
}

-- What is wrong with what a path says; nil: nothing. What this version does not know is no fault: nobody acts on it.
function M.problem(more)
  for _, feature in ipairs(features) do
    local value = more[feature.key]
    local why = value ~= nil and feature.module.problem(value)
    if why then return why end
  end
  return nil
end

function M.compile(more, target)
  for _, feature in ipairs(features) do
    local value = more[feature.key]
    if value ~= nil then feature.module.compile(value, target) end
  end
end

return M
