-- Who answers what a peer has failed to: the spare upstream of the route, which is told what it was. nginx.conf has a
-- location for each status (nginx-errors.ts); it sets `sluice_error_code`.
local type = type

local M = {}

-- What is wrong with it; nil: nothing.
function M.problem(errors)
  if type(errors) ~= "table" or type(errors.codes) ~= "table" then return "errors holds no codes" end
  if errors.port ~= nil and (type(errors.port) ~= "string" or not errors.port:match("^[%w-]+$")) then
    return "errors: port is none"
  end
  return nil
end

function M.compile(errors, target)
  target.error_port = errors.port
end

-- What its peers are told of the request.
function M.tell(target, var)
  local labels = target.labels
  var.sluice_error_namespace, var.sluice_error_ingress = labels.namespace, labels.ingress
  var.sluice_error_service, var.sluice_error_port = labels.service, target.error_port or ""
end

return M
