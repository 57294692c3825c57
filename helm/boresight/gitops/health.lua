-- Health of an AlignmentRun, FeedbackSynthesis or EvalRun for Argo CD.
-- Healthy: it has succeeded. Degraded: only the user can help. Suspended: by its spec, by a queue, or by stopAfter.
-- Everything else is Progressing: waiting, retrying, and what the operator has not seen yet.

local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this generation yet"}
end

local is = {}
for _, condition in ipairs(status.conditions) do
  is[condition.type] = condition
end
local function has(name, value)
  return is[name] ~= nil and is[name].status == value
end
local function said(name, otherwise)
  if is[name] ~= nil and is[name].message ~= nil and is[name].message ~= "" then
    return is[name].message
  end
  return otherwise
end

if has("Succeeded", "True") then
  return {status = "Healthy", message = status.keyMetric or said("Succeeded", "every artifact is there")}
end
if has("Stalled", "True") then
  return {status = "Degraded", message = said("Stalled", is.Stalled.reason)}
end
if has("Succeeded", "False") then
  return {status = "Degraded", message = said("Succeeded", is.Succeeded.reason)}
end

local reason = is.Succeeded ~= nil and is.Succeeded.reason or nil
if has("Suspended", "True") then
  return {status = "Suspended", message = said("Suspended", "spec.suspend is true")}
end
if reason == "QuotaPending" or reason == "StoppedAfter" then
  return {status = "Suspended", message = said("Succeeded", reason)}
end

local message = said("Succeeded", reason or "")
if reason == "Running" and status.percent ~= nil then
  message = (status.stage or "") .. " " .. status.percent .. "%"
end
return {status = "Progressing", message = message}
