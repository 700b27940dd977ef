(module
  (memory (export "memory") 2)
  (func (export "_start")
    i32.const 0 v128.load drop))
