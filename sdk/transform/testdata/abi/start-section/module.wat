(module
  (memory (export "memory") 2)
  (func $s)
  (func (export "_start"))
  (start $s))
