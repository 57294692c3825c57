-- Which actions a run offers now.
local suspended = obj.spec ~= nil and obj.spec.suspend == true
local stalled = false
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    if condition.type == "Stalled" and condition.status == "True" then
      stalled = true
    end
  end
end
return {
  suspend = {disabled = suspended, displayName = "Suspend", iconClass = "fa fa-fw fa-pause"},
  resume = {disabled = not suspended, displayName = "Resume", iconClass = "fa fa-fw fa-play"},
  retry = {disabled = not stalled, displayName = "Retry", iconClass = "fa fa-fw fa-redo"},
}
