-- How many requests of an upstream may be tried again: a share of those that came, so that peers which are slow under
-- load get no more of it. Each worker keeps its own account: it sees a fair sample of all.
local exp, now = math.exp, ngx.now

-- Of the requests of the last WINDOW seconds (older ones by degrees less), and so many a second whatever comes.
local M = { SHARE = 0.2, LEAST = 10, WINDOW = 10 }

function M.budget()
  -- `requests` only grows, by one for each first try; the rest is brought up to date when somebody wants to try again.
  return { requests = 0, seen = 0, at = now(), came = 0, spent = 0 }
end

-- True, and one less is left; or nothing is left.
function M.take(budget)
  local time = now()
  local passed = time - budget.at
  local news = budget.requests - budget.seen
  budget.seen, budget.at = budget.requests, time
  if passed > 0 then
    local rest = exp(-passed / M.WINDOW)
    budget.came = budget.came * rest + news * (1 - rest) * M.WINDOW / passed
    budget.spent = budget.spent * rest
  else
    budget.came = budget.came + news
  end
  if budget.spent + 1 > M.SHARE * budget.came + M.LEAST * M.WINDOW then return false end
  budget.spent = budget.spent + 1
  return true
end

return M
