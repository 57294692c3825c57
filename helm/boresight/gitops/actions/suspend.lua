-- A checkpoint is taken, and the devices are free. `resume` goes on from there.
obj.spec.suspend = true
return obj
