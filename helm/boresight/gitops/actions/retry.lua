-- Budgets are whole again and `prepare` runs, because the annotation has a new value.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["boresight.dev/retry"] = os.date("!%Y-%m-%dT%XZ")
return obj
