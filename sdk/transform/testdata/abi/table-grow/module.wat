(module
  (table 1 funcref)
  (memory (export "memory") 2)
  (func (export "_start")
    ref.null func i32.const 1 table.grow drop))
